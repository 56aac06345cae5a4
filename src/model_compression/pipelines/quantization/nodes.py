"""The pruned network, trained to live with 8-bit integers."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice

import torch

from model_compression.distillation import AnswerShelf
from model_compression.images import Batches, ImageSet, Normalization
from model_compression.models import Checkpoint
from model_compression.pipelines.quantization.parameters import QuantizationParameters
from model_compression.pipelines.stage.nodes import choose_teachers, learn_from, new_checkpoint
from model_compression.pruning.masks import apply_masks
from model_compression.quantization import calibrate, freeze, prepare_qat
from model_compression.quantization.zeros import carried_masks
from model_compression.training import History, Trainee, TrainingState, fit

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
    """Trains with quantization simulated in the graph; yields the state after every epoch.

    Weights that were masked in the pruned network stay exactly 0.
    """
    settings = parameters.quantization
    spec = pruned.spec
    masked = pruned.details.get("masked", [])
    teachers = choose_teachers(teacher, more_teachers, parameters.more_teachers)
    start = replace(
        new_checkpoint(
            "quantized",
            spec,
            parameters,
            train_images,
            validation_images,
            normalization,
            *teachers,
            pruned,
        ),
        graph="qat",
        details={"masked": masked} if masked else {},
    )

    def prepare() -> Trainee:
        network = pruned.build()
        model = prepare_qat(network, spec.input_shape, settings)
        batches = Batches(
            train_images,
            normalization,
            batch_size=parameters.training.batch_size,
            device="cpu",
            seed=parameters.training.seed,
            shuffle=True,
        )
        calibrate(model, (batch.images for batch in islice(batches.epoch(0), CALIBRATION_BATCHES)))
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
        masks = carried_masks(model, network, masked)
        apply_masks(model, masks)
        return Trainee(
            model,
            objective,
            before_epoch=lambda epoch: freeze(model, epoch, settings),
            # The moving average begins with these zeros and only ever meets zeros.
            after_step=lambda: apply_masks(model, masks),
        )

    for state in fit(
        prepare, start, train_images, validation_images, parameters.training, resume_state
    ):
        yield state, state.history
