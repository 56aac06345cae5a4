"""The pruned network in few bits, trained to them or not, and as accurate as it has to be."""

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from model_compression import quantization
from model_compression.distillation import AnswerShelf
from model_compression.evaluation import predict_logits, score
from model_compression.images import Batches, ImageSet, Normalization
from model_compression.models import Checkpoint
from model_compression.pipelines.quantization.parameters import QuantizationParameters
from model_compression.pipelines.stage.nodes import (
    JUDGED_AT_A_TIME,
    choose_teachers,
    learn_from,
    new_checkpoint,
    select_best,
    unaugmented_batches,
)
from model_compression.pruning.masks import apply_masks
from model_compression.quantization import PostTrainingSettings, QatSettings, WeightSettings
from model_compression.training import (
    History,
    Trainee,
    TrainingSettings,
    TrainingState,
    fit,
    without_training,
)

logger = logging.getLogger(__name__)

CALIBRATION_BATCHES = 16
"""Unaugmented training batches that set the activations' ranges before the first step."""


def train_quantized(
    train_images: ImageSet,
    validation_images: ImageSet,
    normalization: Normalization,
    teacher: Checkpoint,
    pruned: Checkpoint,
    more_teachers: Mapping[str, Checkpoint],
    teacher_answers: AnswerShelf,
    parameters: QuantizationParameters,
    resume_state: TrainingState | None,
) -> Iterator[tuple[TrainingState, History]]:
    """Brings the network to its grid; yields the state after every epoch, or once if none is.

    Weights that were masked in the pruned network stay exactly 0.
    """
    settings = parameters.quantization
    spec = pruned.spec
    masked = pruned.details.get("masked", [])
    teachers = choose_teachers(teacher, more_teachers, parameters.more_teachers)
    details: dict[str, Any] = {"quantization": settings.model_dump(mode="json")}
    start = new_checkpoint(
        "quantized",
        spec,
        parameters,
        train_images,
        validation_images,
        normalization,
        *teachers,
        pruned,
    )
    start = replace(
        start,
        graph="qat",
        details=start.details | details | ({"masked": masked} if masked else {}),
    )
    if isinstance(settings, PostTrainingSettings):
        state = without_training(
            lambda: _quantized_after_training(
                pruned, settings, train_images, validation_images, parameters.training
            ),
            start,
            resume_state,
        )
        yield state, state.history
        return

    def prepare() -> Trainee:
        network = pruned.build()
        model = quantization.prepare_qat(network, spec.input_shape, settings)
        batches = unaugmented_batches(pruned, train_images, parameters.training)
        quantization.calibrate(
            model, (batch.images for batch in islice(batches.epoch(0), CALIBRATION_BATCHES))
        )
        torch.manual_seed(parameters.training.seed)
        objective = learn_from(
            teachers,
            parameters.distillation,
            model,
            spec,
            parameters.training,
            train_images,
            teacher_answers,
            parameters.more_teachers,
        )
        masks = quantization.carried_masks(model, network, masked)
        apply_masks(model, masks)
        return Trainee(
            model,
            objective,
            before_epoch=lambda epoch: _freeze(model, epoch, settings),
            # The moving average begins with these zeros and only ever meets zeros.
            after_step=lambda: apply_masks(model, masks),
        )

    for state in fit(
        prepare, start, train_images, validation_images, parameters.training, resume_state
    ):
        yield state, state.history


def keep_accuracy(
    train_images: ImageSet,
    validation_images: ImageSet,
    pruned: Checkpoint,
    training_state: TrainingState,
    parameters: QuantizationParameters,
) -> tuple[Checkpoint, pd.DataFrame]:
    """The best network, with as many layers in more bits as the guard asks for.

    Where all layers in floats are not enough, because training has cost accuracy too, the pruned
    network itself is what is left.

    Returns:
        The checkpoint, whose details say what the guard saw and did; a row a layer with its bits.
    """
    best = select_best(training_state)
    settings: WeightSettings = parameters.quantization
    model = quantization.restore_checkpoint(best)
    asked = quantization.bits_of(model)
    guard = settings.guard
    if guard is None:
        return best, _precision_table(asked, asked)
    images = (validation_images, best.normalization)
    before = _correct(pruned.build(), *images)
    batches = Batches(*images, batch_size=JUDGED_AT_A_TIME, device="cpu", shuffle=False)

    def drop(candidate: nn.Module) -> quantization.Drop:
        return quantization.paired_drop(before, _correct(candidate, *images))

    def requantized(wanted: WeightSettings) -> quantization.QatModel:
        if isinstance(wanted, PostTrainingSettings):
            return _after_training(pruned, wanted, train_images, parameters.training)
        return quantization.regrid_checkpoint(best, trained, wanted)

    trained = model
    found = first = drop(model)
    returned: list[quantization.Returned] = []
    if not quantization.holds(found, guard):
        logger.info(
            "quantized: loses %.2f points on the validation images (95 %% interval %.2f to %.2f), "
            "%.2f are allowed%s: layers are returned to more bits",
            100 * found.drop,
            100 * found.low,
            100 * found.high,
            100 * guard.max_accuracy_drop,
            " at the interval's upper end" if guard.certain else "",
        )
        for step in quantization.return_layers(
            model, settings, guard, requantized, lambda each: score(each, batches).loss, drop
        ):
            settings, model, found = step.settings, step.model, step.found
            returned.append(step.returned)
    source_kept = not quantization.holds(found, guard)
    if source_kept:
        logger.info("quantized: the pruned network is kept as it is, in floats")
        found = quantization.Drop(0.0, 0.0, 0.0)
        guarded = replace(best, weights=pruned.weights, graph="float")
    elif returned:
        now_set = {"quantization": settings.model_dump(mode="json")}
        guarded = replace(best, weights=model.state_dict(), details=best.details | now_set)
    else:
        guarded = best
    saw = {
        "max_accuracy_drop": guard.max_accuracy_drop,
        "certain": guard.certain,
        "images": len(validation_images),
        "drop_before": first._asdict(),
        "drop": found._asdict(),
        "returned": [each._asdict() for each in returned],
        "source_kept": source_kept,
    }
    now = {} if source_kept else quantization.bits_of(model)
    return (
        replace(guarded, details=guarded.details | {"guard": saw}),
        _precision_table(asked, now, returned),
    )


def calibration_images(
    source: Checkpoint, train: ImageSet, training: TrainingSettings, images: int
) -> list[Tensor]:
    """Normalised batches of about so many training images, without augmentation."""
    count = max(-(-images // training.batch_size), 1)
    batches = unaugmented_batches(source, train, training)
    return [batch.images for batch in islice(batches.epoch(0), count)]


def _quantized_after_training(
    pruned: Checkpoint,
    settings: PostTrainingSettings,
    train: ImageSet,
    validation: ImageSet,
    training: TrainingSettings,
) -> tuple[dict[str, Tensor], History]:
    """The network's state, and the one row of its history."""
    started = time.perf_counter()
    model = _after_training(pruned, settings, train, training)
    batches = Batches(
        validation, pruned.normalization, batch_size=JUDGED_AT_A_TIME, device="cpu", shuffle=False
    )
    found = score(model, batches)
    row = {
        "epoch": 0,
        "validation_loss": found.loss,
        "validation_accuracy": found.accuracy,
        "seconds": time.perf_counter() - started,
    }
    return model.state_dict(), [row]


def _freeze(model: "quantization.QatModel", epoch: int, settings: WeightSettings) -> None:
    assert isinstance(settings, QatSettings)
    quantization.freeze(model, epoch, settings)


def _correct(
    model: nn.Module, images: ImageSet, normalization: Normalization
) -> "quantization.Correct":
    answers = predict_logits(model, images, normalization, JUDGED_AT_A_TIME).argmax(axis=1)
    return np.asarray(answers == images.labels)


def _after_training(
    pruned: Checkpoint, settings: PostTrainingSettings, train: ImageSet, training: TrainingSettings
) -> "quantization.QatModel":
    return quantization.quantize_after_training(
        pruned.build(),
        pruned.spec.input_shape,
        settings,
        calibration_images(pruned, train, training, settings.images),
        training.seed,
    )


def _precision_table(
    asked: Mapping[str, int],
    bits: Mapping[str, int],
    returned: "list[quantization.Returned] | None" = None,
) -> pd.DataFrame:
    steps = {step.layer: (place, step) for place, step in enumerate(returned or [], start=1)}
    return pd.DataFrame(
        [
            {
                "layer": layer,
                "bits_asked": wanted,
                "bits": bits.get(layer, 32),
                "returned_as": steps[layer][0] if layer in steps else 0,
                "loss_without": steps[layer][1].loss_without if layer in steps else None,
            }
            for layer, wanted in asked.items()
        ]
    )
