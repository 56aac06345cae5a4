"""A network learns old classes; then, from their images alone, new ones."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from model_compression.deployment import OnnxModel, OnnxRuntimeClassifier
from model_compression.distillation import AnswerShelf, LabelsOnly
from model_compression.fingerprint import fingerprint
from model_compression.images import ImageSet, Normalization
from model_compression.images.classes import find_classes, with_classes
from model_compression.models import Checkpoint, CheckpointError, build_model
from model_compression.models.widen import widen_classifier
from model_compression.pipelines.stage.nodes import learn_from, new_checkpoint
from model_compression.pipelines.without_forgetting.parameters import (
    FineTuningParameters,
    WithoutForgettingParameters,
)
from model_compression.training import CrossEntropy, History, Trainee, TrainingState, fit

COLUMNS = [
    "stage",
    "old_classes",
    "new_classes",
    "all_classes",
    "old_among_old",
    "new_among_new",
]


def split_classes(
    train_images: ImageSet,
    validation_images: ImageSet,
    test_images: ImageSet,
    parameters: WithoutForgettingParameters,
) -> tuple[ImageSet, ImageSet, ImageSet, ImageSet, ImageSet, ImageSet]:
    """Parts the images by whether their class is old or new; old classes get the first numbers.

    Returns:
        Training, validation and test images of the old classes; training and validation images of
        the new ones; test images of all.

    Raises:
        ValueError: If a new class is not there, or fewer than two old ones are left.
    """
    classes = train_images.classes
    new = find_classes(classes, parameters.new_classes)
    old = [number for number in range(len(classes)) if number not in new]
    if len(old) < 2:
        raise ValueError(
            f"without_forgetting.new_classes leaves {len(old)} of {len(classes)} classes to the "
            "old network, which needs two or more: name fewer"
        )
    every = [*old, *new]
    return (
        with_classes(train_images, old),
        with_classes(validation_images, old),
        with_classes(test_images, old),
        with_classes(train_images, every, new),
        with_classes(validation_images, every, new),
        with_classes(test_images, every),
    )


def train_old(
    train_images: ImageSet,
    validation_images: ImageSet,
    normalization: Normalization,
    parameters: WithoutForgettingParameters,
    resume_state: TrainingState | None,
) -> Iterator[tuple[TrainingState, History]]:
    """Trains a network that knows the old classes alone; yields its state after every epoch."""
    old = parameters.old
    spec = old.model.spec(train_images.image_shape, len(train_images.classes))
    start = new_checkpoint("old", spec, old, train_images, validation_images, normalization)

    def prepare() -> Trainee:
        torch.manual_seed(old.training.seed)
        return Trainee(build_model(spec), CrossEntropy())

    for state in fit(prepare, start, train_images, validation_images, old.training, resume_state):
        yield state, state.history


def train_kept(
    train_images: ImageSet,
    validation_images: ImageSet,
    normalization: Normalization,
    old: Checkpoint,
    teacher_answers: AnswerShelf,
    parameters: WithoutForgettingParameters,
    resume_state: TrainingState | None,
) -> Iterator[tuple[TrainingState, History]]:
    """Teaches the old network the new classes while it is held to the old ones."""
    yield from _fine_tune(
        "kept",
        train_images,
        validation_images,
        normalization,
        old,
        teacher_answers,
        parameters.fine_tuning,
        resume_state,
    )


def train_forgotten(
    train_images: ImageSet,
    validation_images: ImageSet,
    normalization: Normalization,
    old: Checkpoint,
    teacher_answers: AnswerShelf,
    parameters: WithoutForgettingParameters,
    resume_state: TrainingState | None,
) -> Iterator[tuple[TrainingState, History]]:
    """The control: plain fine-tuning from the same weights, labels asked over all classes."""
    control = parameters.fine_tuning.model_copy(update={"distillation": LabelsOnly(method="none")})
    yield from _fine_tune(
        "forgotten",
        train_images,
        validation_images,
        normalization,
        old,
        teacher_answers,
        control,
        resume_state,
    )


def compare(
    old: OnnxModel, kept: OnnxModel, forgotten: OnnxModel, test_images: ImageSet
) -> pd.DataFrame:
    """How many of the test images each file gets right, of old and of new classes.

    Returns:
        A row a stage; ``old_classes``, ``new_classes`` and ``all_classes`` are accuracies where any
        class may be the answer, ``old_among_old`` and ``new_among_new`` where it is known whether
        the class is an old one (the paper's measure). Empty where a network has no such class.
    """
    known = len(old.classes)
    rows = [_judge(model, test_images, known) for model in (old, kept, forgotten)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _fine_tune(
    stage: str,
    train_images: ImageSet,
    validation_images: ImageSet,
    normalization: Normalization,
    old: Checkpoint,
    answers: AnswerShelf,
    parameters: FineTuningParameters,
    resume_state: TrainingState | None,
) -> Iterator[tuple[TrainingState, History]]:
    """The epoch is chosen by images of the new classes, as of the old ones there are none left."""
    classes = train_images.classes
    here = (classes[: len(old.classes)], train_images.image_shape, normalization)
    if (old.classes, old.spec.input_shape, old.normalization) != here:
        raise CheckpointError(
            f"{stage}: the old checkpoint was trained on other classes or images than those in the "
            "catalog: run the without_forgetting pipeline from its node split_classes"
        )
    spec = old.spec.model_copy(update={"classes": len(classes)})
    start = new_checkpoint(stage, spec, parameters, train_images, validation_images, normalization)
    # The source knows fewer classes, which new_checkpoint would refuse.
    start = replace(start, fingerprint=fingerprint(start.fingerprint, old.fingerprint))

    def prepare() -> Trainee:
        torch.manual_seed(parameters.training.seed)
        student, _ = widen_classifier(old.build(), old.spec, len(classes))
        objective = learn_from(
            [old],
            parameters.distillation,
            student,
            spec,
            parameters.training,
            train_images,
            answers,
        )
        return Trainee(student, objective)

    for state in fit(
        prepare, start, train_images, validation_images, parameters.training, resume_state
    ):
        yield state, state.history


def _judge(model: OnnxModel, test_images: ImageSet, known: int) -> dict[str, object]:
    logits = OnnxRuntimeClassifier(model).logits(test_images.images)
    labels = test_images.labels
    is_old = labels < known
    row = {"stage": model.stage, "old_classes": _accuracy(logits[is_old], labels[is_old])}
    if len(model.classes) > known:
        row |= {
            "new_classes": _accuracy(logits[~is_old], labels[~is_old]),
            "all_classes": _accuracy(logits, labels),
            "new_among_new": _accuracy(logits[~is_old, known:], labels[~is_old] - known),
        }
    return row | {"old_among_old": _accuracy(logits[is_old, :known], labels[is_old])}


def _accuracy(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    return float((logits.argmax(1) == labels).mean())
