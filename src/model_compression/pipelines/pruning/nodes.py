"""The student, pruned and fine-tuned under the teacher."""

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from itertools import islice

import numpy as np
import torch
from torch import nn

from model_compression.deployment import measure_latency
from model_compression.distillation import AnswerShelf
from model_compression.images import ImageSet, Normalization
from model_compression.models import Checkpoint
from model_compression.pipelines.pruning.parameters import PruningParameters
from model_compression.pipelines.stage.nodes import (
    choose_teachers,
    export_module,
    learn_from,
    new_checkpoint,
    unaugmented_batches,
)
from model_compression.pruning import (
    ChannelPruningSettings,
    Evidence,
    MaskedObjective,
    PruningMethod,
    Shrinking,
    complete_at,
    gather,
    masked_weights,
    needs,
    schedule_of,
)
from model_compression.training import (
    History,
    Objective,
    Trainee,
    TrainingSettings,
    TrainingState,
    fit,
)

EVIDENCE_BATCHES = 8
"""Unaugmented training batches that importances of channels and weights look at."""

LATENCY_REPEATS = 30
"""Turns of both files in one measurement of a target ``latency``."""


def train_pruned(
    train_images: ImageSet,
    validation_images: ImageSet,
    normalization: Normalization,
    teacher: Checkpoint,
    student: Checkpoint,
    more_teachers: Mapping[str, Checkpoint],
    teacher_answers: AnswerShelf,
    parameters: PruningParameters,
    resume_state: TrainingState | None,
) -> Iterator[tuple[TrainingState, History]]:
    """Prunes the student and fine-tunes what is left; yields its state after every epoch."""
    spec = student.spec
    teachers = choose_teachers(teacher, more_teachers, parameters.more_teachers)
    start = new_checkpoint(
        "pruned",
        spec,
        parameters,
        train_images,
        validation_images,
        normalization,
        *teachers,
        student,
    )

    def objective_for(network: nn.Module) -> Objective:
        return learn_from(
            teachers,
            parameters.distillation,
            network,
            spec,
            parameters.training,
            train_images,
            teacher_answers,
            parameters.more_teachers,
        )

    for state in prune_and_tune(
        student,
        start,
        parameters.pruning,
        objective_for,
        parameters.training,
        train_images,
        validation_images,
        resume_state,
    ):
        yield state, state.history


def prune_and_tune(
    source: Checkpoint,
    start: Checkpoint,
    settings: PruningMethod,
    objective_for: Callable[[nn.Module], Objective],
    training: TrainingSettings,
    train: ImageSet,
    validation: ImageSet,
    resume: TrainingState | None = None,
) -> Iterator[TrainingState]:
    """Prunes a network as its schedule says while it is fine-tuned.

    Args:
        source: What is pruned.
        start: The checkpoint that it becomes, without weights yet.
        settings: What goes, and when.
        objective_for: Makes what a network is trained towards; of channels, called again after
            every cut.
        training: How what is left is trained.
        train: Images to learn from, and those that importances look at.
        validation: Images to choose the best epoch by.
        resume: A stored state to go on from.

    Yields:
        The state after each epoch, as ``training.fit`` does.

    Raises:
        ValueError: If the settings don't fit the network.
    """

    def evidence_for(network: nn.Module) -> Evidence | None:
        return gather_evidence(network, needs(settings), source, training, train)

    if isinstance(settings, ChannelPruningSettings):
        shrinking = Shrinking(
            source,
            settings,
            training.epochs,
            training.seed,
            objective_for,
            evidence_for,
            relative_latency(source) if settings.target == "latency" else None,
        )
        yield from fit(
            shrinking.begin, start, train, validation, training, resume, shrinking.fitted
        )
        return

    # Shuffled batches leave out what does not fill the last of them.
    steps = max(len(train) // training.batch_size, 1)
    network = source.build()
    start = replace(start, details={**start.details, "masked": masked_weights(network, settings)})

    def prepare() -> Trainee:
        torch.manual_seed(training.seed)
        objective = MaskedObjective(
            objective_for(network),
            network,
            settings,
            steps * training.epochs,
            evidence_for(network),
            training.seed,
        )
        complete = complete_at(schedule_of(settings)) * training.epochs
        return Trainee(
            network,
            objective,
            after_step=objective.hold,
            after_average=objective.hold_average,
            # The first epoch at whose end the last weight has gone.
            ready_from=max(math.ceil(complete) - 1, 0),
        )

    yield from fit(prepare, start, train, validation, training, resume)


def relative_latency(source: Checkpoint) -> Callable[[nn.Module], float]:
    """Times networks here: their file's inference at batch 1 by that of the source's, by turns.

    1 is as slow as the source; the median of the turns' ratios, on one thread.
    """
    black = np.zeros((1, *source.spec.input_shape), dtype=np.uint8)
    before = export_module(source.build(), source)

    def relative(network: nn.Module) -> float:
        files = {"before": before, "after": export_module(network, source)}
        times = measure_latency(files, black, batch_sizes=(1,), repeats=LATENCY_REPEATS)
        turns = times.pivot(index="repeat", columns="stage", values="latency_ms")
        return float((turns["after"] / turns["before"]).median())

    return relative


def gather_evidence(
    network: nn.Module,
    wanted: Collection[str],
    source: Checkpoint,
    training: TrainingSettings,
    train: ImageSet,
) -> Evidence | None:
    """What importances look at on some training images; ``None`` where nothing is wanted."""
    if not wanted:
        return None
    batches = unaugmented_batches(source, train, training)
    return gather(network, islice(batches.epoch(0), EVIDENCE_BATCHES), wanted)
