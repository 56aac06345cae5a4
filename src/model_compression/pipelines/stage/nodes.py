"""What every stage does once it is trained: choose, export, evaluate."""

from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from model_compression import quantization
from model_compression.deployment import (
    OnnxModel,
    OnnxRuntimeClassifier,
    compare_logits,
    export_onnx,
    fusion_report,
    graph_cost,
    packed_size,
    require_fused,
)
from model_compression.distillation import (
    AnswerMemory,
    KdSettings,
    LabelsOnly,
    distillation_objective,
)
from model_compression.evaluation import (
    classification_tables,
    predict_logits,
    softmax,
    summarise,
)
from model_compression.fingerprint import fingerprint
from model_compression.images import ImageSet, Normalization
from model_compression.models import Checkpoint, CheckpointError, ModelSpec
from model_compression.parameters import Parameters
from model_compression.training import Objective, TrainingSettings, TrainingState


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
    images and the checkpoints it starts from.

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
    """The deployable of the checkpoint; every quantizable layer of it runs fused.

    Raises:
        FusionError: If ONNX Runtime would run a quantized layer in float.
    """
    model = export_onnx(
        load_module(checkpoint),
        input_shape=checkpoint.spec.input_shape,
        normalization=checkpoint.normalization,
        classes=checkpoint.classes,
        stage=checkpoint.stage,
        fingerprint=checkpoint.fingerprint,
        architecture=checkpoint.spec.name,
    )
    require_fused(model)
    return model


def evaluate(
    checkpoint: Checkpoint, model: OnnxModel, test_images: ImageSet, history: list[dict[str, Any]]
) -> tuple[pd.DataFrame, dict[str, Any], pd.DataFrame, pd.DataFrame]:
    """Judges the file in ONNX Runtime on the test images, and holds it to its PyTorch module.

    Returns:
        Predictions, a row a test image; the evaluation; scikit-learn's classification report;
        the confusion matrix.
    """
    classifier = OnnxRuntimeClassifier(model)
    logits = classifier.logits(test_images.images)
    reference = predict_logits(load_module(checkpoint), test_images, checkpoint.normalization)
    parity = compare_logits(logits, reference)
    fusion = fusion_report(model)
    cost = graph_cost(model)
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
        "packed_bytes": packed_size(model.content),
        "top1_agreement": parity.top1_agreement,
        "max_logit_difference": parity.max_abs_difference,
        "quantizable_layers": len(fusion.quantizable),
        "fused_layers": len(fusion.fused),
        "runtime": classifier.name,
        "epochs": len(history),
        "training_seconds": sum(row["seconds"] for row in history),
    }
    return predictions, evaluation, report, confusion


def load_module(checkpoint: Checkpoint) -> nn.Module:
    """The network of a checkpoint, as it is deployed: in eval mode, quantized if it is."""
    if checkpoint.graph == "qat":
        return quantization.load_quantized(checkpoint)
    return checkpoint.build()


def learn_from(
    teacher: Checkpoint,
    method: KdSettings | LabelsOnly,
    settings: TrainingSettings,
    train: ImageSet,
) -> Objective:
    """The objective of ``method`` under ``teacher``.

    The teacher's answers are kept where the training shows some view of the images again.
    """
    views = 1 if settings.augmentation is None else settings.augmentation.views
    memory = None
    if views is not None and views < settings.epochs:
        memory = AnswerMemory(views, len(train), len(train.classes))
    return distillation_objective(method, teacher.build(), memory)
