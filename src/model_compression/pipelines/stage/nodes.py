"""What every stage does once it is trained: choose, export, evaluate."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from model_compression import deployment, quantization
from model_compression.deployment import OnnxModel, OnnxRuntimeClassifier, compare_logits
from model_compression.distillation import (
    AnswerShelf,
    Combination,
    DistillationError,
    FrozenTeacher,
    Method,
    Pair,
    RememberingTeacher,
    Teacher,
    TeacherEnsemble,
)
from model_compression.evaluation import (
    classification_tables,
    predict_logits,
    softmax,
    summarise,
)
from model_compression.fingerprint import fingerprint
from model_compression.images import Batches, ImageSet, Normalization
from model_compression.models import Checkpoint, CheckpointError, ModelSpec
from model_compression.parameters import Parameters
from model_compression.training import (
    Objective,
    TrainingSettings,
    TrainingState,
    current_team,
    resolve_device,
    resolve_precision,
)

ASKED_AT_A_TIME = 500
"""Images in a batch for a teacher whose answers are stored."""

JUDGED_AT_A_TIME = 500
"""Images in a batch for a file or a module that is judged: the same in both, because an activation
that is quantized by its own range makes each answer depend on the batch."""


def new_checkpoint(
    stage: str,
    spec: ModelSpec,
    parameters: Parameters,
    train: ImageSet,
    validation: ImageSet,
    normalization: Normalization,
    *sources: Checkpoint,
) -> Checkpoint:
    """The checkpoint that a stage is going to make, still without weights.

    Its fingerprint covers everything that its weights depend on: the parameters, the network, the
    images and the checkpoints it starts from. Those of the parameters and images alone are among
    its details, so that a report can name them.

    Raises:
        CheckpointError: If a source was trained on other images than these.
    """
    for source in sources:
        here = (train.classes, train.image_shape, normalization)
        if (source.classes, source.spec.input_shape, source.normalization) != here:
            raise CheckpointError(
                f"{stage}: the {source.stage} checkpoint was trained on other images than those in "
                f"the catalog (classes, size or normalisation differ): run the pipeline that makes "
                f"{source.stage} again"
            )
    return Checkpoint(
        spec=spec,
        weights={},
        stage=stage,
        fingerprint=fingerprint(
            stage,
            spec,
            parameters,
            train.fingerprint,
            validation.fingerprint,
            normalization,
            [source.fingerprint for source in sources],
        ),
        classes=train.classes,
        normalization=normalization,
        details={
            "fingerprints": {
                "parameters": fingerprint(parameters),
                "train_images": train.fingerprint,
                "validation_images": validation.fingerprint,
            }
        },
    )


def unaugmented_batches(source: Checkpoint, train: ImageSet, training: TrainingSettings) -> Batches:
    """The training images as they are, on the CPU, in batches, in an order of the seed's."""
    return Batches(
        train,
        source.normalization,
        batch_size=training.batch_size,
        device="cpu",
        seed=training.seed,
        shuffle=True,
    )


def select_best(training_state: TrainingState) -> Checkpoint:
    """The network of the epoch with the lowest validation loss.

    Raises:
        ValueError: If the training was cut off and has not gone on since.
    """
    if not training_state.finished:
        raise ValueError(
            f"{training_state.best.stage}: its training stopped after epoch {training_state.epoch} "
            "and is not finished: run its pipeline from the train node"
        )
    return training_state.best


def export(checkpoint: Checkpoint) -> OnnxModel:
    """The deployable of the checkpoint; every layer that is to be quantized runs fused.

    Raises:
        FusionError: If ONNX Runtime would run such a layer in float.
    """
    model = export_module(load_module(checkpoint), checkpoint)
    deployment.require_fused(model, besides=quantization.float_layers(checkpoint))
    return model


def export_module(module: nn.Module, checkpoint: Checkpoint) -> OnnxModel:
    """The deployable of a network for the images, and with the metadata, of a checkpoint."""
    return deployment.export_onnx(
        module,
        input_shape=checkpoint.spec.input_shape,
        normalization=checkpoint.normalization,
        classes=checkpoint.classes,
        stage=checkpoint.stage,
        fingerprint=checkpoint.fingerprint,
        architecture=checkpoint.spec.name,
    )


def evaluate(
    checkpoint: Checkpoint, model: OnnxModel, test_images: ImageSet, history: list[dict[str, Any]]
) -> tuple[pd.DataFrame, dict[str, Any], pd.DataFrame, pd.DataFrame]:
    """Judges the file in ONNX Runtime on the test images, and holds it to its PyTorch module.

    Where an answer depends on the batch, the images are asked about one by one too.

    Returns:
        Predictions, a row a test image; the evaluation; scikit-learn's classification report;
        the confusion matrix.
    """
    classifier = OnnxRuntimeClassifier(model)
    logits = classifier.logits(test_images.images, JUDGED_AT_A_TIME)
    reference = predict_logits(
        load_module(checkpoint), test_images, checkpoint.normalization, JUDGED_AT_A_TIME
    )
    parity = compare_logits(logits, reference)
    fusion = deployment.fusion_report(model)
    cost = deployment.graph_cost(model)
    summary = summarise(logits, test_images.labels, model.classes)
    probabilities = softmax(logits)
    predicted = probabilities.argmax(axis=1)
    predictions = pd.DataFrame(
        {
            "index": np.arange(len(predicted)),
            "label": test_images.labels,
            "predicted": predicted,
            "confidence": probabilities.max(axis=1),
        }
    )
    report, confusion = classification_tables(test_images.labels, predicted, model.classes)
    evaluation = {
        "stage": model.stage,
        "architecture": model.architecture,
        "fingerprint": model.fingerprint,
        **summary.model_dump(),
        "parameters": cost.parameters,
        "nonzero_parameters": cost.nonzero_parameters,
        "macs": cost.macs,
        "file_bytes": model.size,
        "packed_bytes": deployment.packed_size(model.content),
        "top1_agreement": parity.top1_agreement,
        "max_logit_difference": parity.max_abs_difference,
        "quantizable_layers": len(fusion.quantizable),
        "fused_layers": len(fusion.fused),
        "runtime": classifier.name,
        "epochs": len(history),
        "training_seconds": sum(row["seconds"] for row in history),
    }
    if deployment.depends_on_batch(model):
        alone = classifier.logits(test_images.images, batch_size=1)
        evaluation["one_by_one"] = {
            "batch_size": JUDGED_AT_A_TIME,
            "accuracy": summarise(alone, test_images.labels, model.classes).accuracy,
            "top1_agreement": compare_logits(alone, logits).top1_agreement,
        }
    evaluation["fingerprints"] = checkpoint.details.get("fingerprints", {}) | {
        "test_images": test_images.fingerprint
    }
    for key in ("best_epoch", "guard"):
        if key in checkpoint.details:
            evaluation[key] = checkpoint.details[key]
    return predictions, evaluation, report, confusion


def load_module(checkpoint: Checkpoint) -> nn.Module:
    """The network of a checkpoint, as it is deployed: in eval mode, quantized if it is."""
    if checkpoint.graph == "qat":
        return quantization.load_quantized(checkpoint)
    return checkpoint.build()


def choose_teachers(
    teacher: Checkpoint, more: Mapping[str, Checkpoint], combination: Combination | None
) -> list[Checkpoint]:
    """The teacher, and the further ones if they are to be combined.

    Raises:
        CheckpointError: If there are none to combine.
    """
    if combination is None:
        return [teacher]
    if not more:
        raise CheckpointError(
            f"more_teachers is {combination!r}, but the catalog's folder more_teachers holds no "
            "checkpoint: put model.safetensors files of other teachers into it (each under a name "
            "of its own), or set more_teachers to null"
        )
    # Its place stands in for its stage, so that an error says which file is meant.
    return [teacher, *(replace(more[name], stage=f"more_teachers/{name}") for name in sorted(more))]


def learn_from(
    teachers: Sequence[Checkpoint],
    method: Method,
    student: nn.Module,
    spec: ModelSpec,
    settings: TrainingSettings,
    train: ImageSet,
    answers: AnswerShelf,
    combination: Combination | None = None,
) -> Objective:
    """The objective of ``method`` under the teachers.

    Where the training shows a bounded number of views, a teacher's logits are stored.

    Args:
        teachers: At least one; the first alone is asked unless there is a combination.
        method: What is learned.
        student: The network that is going to be trained.
        spec: The student's, before anything was pruned from it.
        settings: Of the training.
        train: The training images.
        answers: Where stored logits are found and kept.
        combination: How several teachers answer as one.

    Raises:
        DistillationError: If the method does not go with these networks, or with several processes.
    """
    refusal = method.why_not_shared() if current_team().size > 1 else None
    if refusal is not None:
        raise DistillationError(refusal)
    asked = [_teacher(checkpoint, settings, train, answers) for checkpoint in teachers]
    return method.objective(
        Pair(
            teacher=asked[0] if combination is None else TeacherEnsemble(asked, combination),
            student=student,
            spec=spec,
            labels=torch.from_numpy(train.labels),
        )
    )


def _teacher(
    checkpoint: Checkpoint, settings: TrainingSettings, train: ImageSet, answers: AnswerShelf
) -> Teacher:
    frozen = FrozenTeacher(checkpoint.build(), checkpoint.spec.input_shape, checkpoint.spec.classes)
    augmentation = settings.augmentation
    if augmentation is not None and augmentation.views == "live":
        return frozen
    device = resolve_device(settings.device)
    images = Batches(
        train,
        checkpoint.normalization,
        batch_size=ASKED_AT_A_TIME,
        device=device,
        seed=settings.seed,
        augmentation=augmentation,
        shuffle=False,
        channels_last=settings.channels_last is not False,
        resident_share=settings.resident_share,
    )
    key = fingerprint(
        checkpoint.weights_digest(),
        train.fingerprint,
        checkpoint.normalization,
        augmentation and augmentation.model_copy(update={"views": "live"}),
        settings.seed,
        settings.channels_last is not False,
        device.type,
        str(resolve_precision("auto", device)),
    )
    return RememberingTeacher(frozen, answers, key, images)
