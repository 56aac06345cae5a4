"""Every subset of the flow's steps: trained by the flow's nodes, judged on its file, compared."""

import gc
import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

import pandas as pd
from plotly.graph_objects import Figure

from model_compression import reporting
from model_compression.deployment import OnnxModel, OnnxRuntimeClassifier
from model_compression.distillation import AnswerShelf
from model_compression.evaluation import summarise
from model_compression.images import ImageSet, Normalization
from model_compression.models import Checkpoint
from model_compression.parameters import flatten
from model_compression.pipelines.ablation.parameters import (
    AblationParameters,
    Flow,
    Steps,
    Subset,
    trained_epochs,
)
from model_compression.pipelines.distillation.nodes import train_student
from model_compression.pipelines.distillation.parameters import DistillationParameters
from model_compression.pipelines.pruning.nodes import train_pruned
from model_compression.pipelines.pruning.parameters import PruningParameters
from model_compression.pipelines.quantization.nodes import keep_accuracy, train_quantized
from model_compression.pipelines.quantization.parameters import QuantizationParameters
from model_compression.pipelines.reporting.nodes import time_stages
from model_compression.pipelines.reporting.parameters import ReportingParameters
from model_compression.pipelines.stage.nodes import evaluate, export, select_best
from model_compression.pipelines.stage.parameters import LearningParameters
from model_compression.pipelines.trials import Run, TrialRecord
from model_compression.training import History, TrainingState

logger = logging.getLogger(__name__)

T = TypeVar("T")

Output = tuple[dict[str, TrainingState], dict[str, OnnxModel], dict[str, TrialRecord]]
"""What is to be saved, by name: states of trainings; files and records of finished trials."""

Training = Callable[[TrainingState | None], Iterable[tuple[TrainingState, History]]]
"""A training node that lacks only the state to go on from."""


def run_trials(
    train_images: ImageSet,
    validation_images: ImageSet,
    test_images: ImageSet,
    normalization: Normalization,
    teacher: Checkpoint,
    more_teachers: Mapping[str, Checkpoint],
    teacher_answers: AnswerShelf,
    parameters: AblationParameters,
    distillation: DistillationParameters,
    pruning: PruningParameters,
    quantization: QuantizationParameters,
    known_states: Mapping[str, TrainingState],
    known_models: Mapping[str, OnnxModel],
    known_trials: Mapping[str, TrialRecord],
    flow_student: TrainingState | None,
    flow_pruned: TrainingState | None,
    flow_quantized: TrainingState | None,
) -> Iterator[Output]:
    """Trains what is not trained yet, trial by trial; yields after every epoch and every trial.

    Args:
        train_images: Images to learn from.
        validation_images: Images by which each training's best epoch is chosen.
        test_images: Images that the files are judged on, for the table alone.
        normalization: Of the images.
        teacher: The project's; it stays as it is.
        more_teachers: Further ones, for steps that ask several.
        teacher_answers: Where the teachers' stored logits are found and kept.
        parameters: Seeds, budget, and what is otherwise than in the flow.
        distillation: The flow's parameters of the student; likewise the next two.
        pruning: Of the pruned network.
        quantization: Of the quantized network.
        known_states: The folder that the yielded states are saved into, looked at when a training
            begins: a finished one is reused, another goes on.
        known_models: Likewise of the files.
        known_trials: Likewise of the records.
        flow_student: The flow's own training, which is taken where a trial's would be the very
            same; likewise the next two.
        flow_pruned: Of the pruned network.
        flow_quantized: Of the quantized network.

    Yields:
        New states, files and records, by name; nothing in them at the end.

    Raises:
        ValueError: If there is nothing to compare, or a trial can't keep the budget.
    """
    flow = Flow.of(parameters, distillation, pruning, quantization)
    trials = _Trials(
        train_images,
        validation_images,
        normalization,
        teacher,
        more_teachers,
        teacher_answers,
        known_states,
        (
            (distillation, flow_student),
            (pruning, flow_pruned),
            (quantization, flow_quantized),
        ),
    )
    runs = parameters.runs()
    for number, (subset, run) in enumerate(runs, start=1):
        steps = flow.steps(subset, run.seed)
        epochs = ", ".join(f"{stage} {count}" for stage, count in steps.epochs().items())
        logger.info("%s: trial %d of %d; epochs: %s", run.key, number, len(runs), epochs)
        trained = yield from trials.train(steps, subset, run.seed)
        record = known_trials.get(run.key)
        model = known_models.get(run.key)
        if (
            record is not None
            and model is not None
            and {record["fingerprint"], model.fingerprint} == {trained.state.fingerprint}
            and record["test_fingerprint"] == test_images.fingerprint
        ):
            logger.info("%s: nothing has changed, so the stored result is reused", run.key)
        else:
            checkpoint = trials.choose(trained, steps)
            model, record = _judge(
                subset, run, steps, checkpoint, trained.histories, validation_images, test_images
            )
            yield {}, {run.key: model}, {run.key: record}
        # Networks and their hooks refer to each other in circles, and may be large.
        gc.collect()
    # Kedro looks at a generator's first item, so there has to be one even if all was reused.
    yield {}, {}, {}


def time_trials(
    models: Mapping[str, OnnxModel],
    test_images: ImageSet,
    parameters: AblationParameters,
    reporting: ReportingParameters,
) -> pd.DataFrame:
    """Milliseconds a batch of every trial's file, interleaved over the trials.

    Raises:
        ValueError: If a trial has not been run.
    """
    return time_stages(_chosen(models, parameters, "file"), test_images, reporting)


def compare_trials(
    trials: Mapping[str, TrialRecord],
    models: Mapping[str, OnnxModel],
    latency: pd.DataFrame,
    parameters: AblationParameters,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The table of the configured trials, and what each step gives; others are left out.

    Returns:
        A row a trial and seed; for each step a row alone, last and on average.

    Raises:
        ValueError: If a trial has not been run, or its file is another than the one judged.
    """
    records = _chosen(trials, parameters, "record")
    for key, record in records.items():
        if models[key].fingerprint != record["fingerprint"]:
            raise ValueError(
                f"{key}: its file is not the one that its record speaks of (a run was cut off "
                "between them): run the pipeline from its node run_ablation"
            )
    comparison = reporting.ablation_table(records, latency)
    return comparison, reporting.ablation_effects(comparison)


def draw(comparison: pd.DataFrame) -> Figure:
    """Accuracy against bytes, a point a subset of the steps."""
    return reporting.ablation_figure(comparison)


@dataclass(frozen=True)
class _Trials:
    """What all trials are trained with."""

    train_images: ImageSet
    validation_images: ImageSet
    normalization: Normalization
    teacher: Checkpoint
    more_teachers: Mapping[str, Checkpoint]
    answers: AnswerShelf
    known: Mapping[str, TrainingState]
    flow: tuple[tuple[LearningParameters, TrainingState | None], ...]
    """Parameters and state of the flow's own trainings: student, pruned, quantized."""

    def train(self, steps: Steps, subset: Subset, seed: int) -> Generator[Output, None, "_Trained"]:
        """One trial's trainings, one after the other.

        A training is called by what went before it, so that trials whose first steps are the same
        share them.
        """
        student, pruned, quantized = steps
        images = (self.train_images, self.validation_images, self.normalization)
        taught = (self.more_teachers, self.answers)
        # A training is the flow's own if its parameters are, and those of all before it.
        flows = [
            state
            if steps[: place + 1] == tuple(each for each, _ in self.flow[: place + 1])
            else None
            for place, (_, state) in enumerate(self.flow)
        ]

        name = f"{'distilled' if subset.distillation else 'plain'}{trained_epochs(student)}"
        state = yield from self._fit(
            f"{name}-seed{seed}",
            flows[0],
            lambda resume: train_student(*images, self.teacher, *taught, student, resume),
        )
        source, histories = None, {"student": state.history}
        if pruned is not None:
            name += f"-pruned{trained_epochs(pruned)}"
            whole = source = select_best(state)
            state = yield from self._fit(
                f"{name}-seed{seed}",
                flows[1],
                lambda resume: train_pruned(*images, self.teacher, whole, *taught, pruned, resume),
            )
            histories["pruned"] = state.history
        if quantized is not None:
            name += f"-quantized{trained_epochs(quantized)}"
            in_floats = source = select_best(state)
            state = yield from self._fit(
                f"{name}-seed{seed}",
                flows[2],
                lambda resume: train_quantized(
                    *images, self.teacher, in_floats, *taught, quantized, resume
                ),
            )
            histories["quantized"] = state.history
        return _Trained(state, source, histories)

    def choose(self, trained: "_Trained", steps: Steps) -> Checkpoint:
        """The network of a trial, chosen as its last stage chooses it."""
        if steps.quantized is None or trained.source is None:
            return select_best(trained.state)
        checkpoint, _ = keep_accuracy(
            self.train_images,
            self.validation_images,
            trained.source,
            trained.state,
            steps.quantized,
        )
        return checkpoint

    def _fit(
        self, name: str, flows: TrainingState | None, train: Training
    ) -> Generator[Output, None, TrainingState]:
        """One training, begun, gone on with, or reused."""
        known = self.known.get(name)
        state = None
        for state, _ in train(flows if known is None else known):
            if state is not known:
                yield {name: _without_ballast(state)}, {}, {}
        assert state is not None
        return state


class _Trained(NamedTuple):
    """A trial whose trainings are over."""

    state: TrainingState
    """Of the last one."""
    source: Checkpoint | None
    """What the last one began with; ``None`` for a student."""
    histories: dict[str, History]
    """By the stage that each training makes."""


def _without_ballast(state: TrainingState) -> TrainingState:
    """A finished state is asked for its best network and its curve alone; so it is kept small."""
    if not state.finished:
        return state
    return replace(
        state,
        weights={},
        averaged={},
        objective={},
        optimizer={"state": {}, "param_groups": []},
    )


def _chosen(things: Mapping[str, T], parameters: AblationParameters, what: str) -> dict[str, T]:
    keys = [run.key for _, run in parameters.runs()]
    missing = [key for key in keys if key not in things]
    if missing:
        raise ValueError(
            f"there is no {what} of {', '.join(missing)}: run the pipeline from its node "
            "run_ablation"
        )
    return {key: things[key] for key in keys}


def _judge(
    subset: Subset,
    run: Run,
    steps: Steps,
    checkpoint: Checkpoint,
    histories: Mapping[str, History],
    validation: ImageSet,
    test: ImageSet,
) -> tuple[OnnxModel, TrialRecord]:
    """The trial's file, and what it is worth, measured as a stage's is."""
    model = export(replace(checkpoint, stage=run.key))
    history = _one_after_the_other(histories, steps.epochs())
    _, evaluation, _, _ = evaluate(checkpoint, model, test, history)
    on_validation = summarise(
        OnnxRuntimeClassifier(model).logits(validation.images), validation.labels, model.classes
    )
    before = sum(list(steps.epochs().values())[:-1])
    record = {
        "name": run.trial,
        "seed": run.seed,
        "method": steps.student.distillation.method,
        "tags": {"steps": " + ".join(subset.steps) or "none"},
        **subset._asdict(),
        "fingerprint": checkpoint.fingerprint,
        "test_fingerprint": test.fingerprint,
        "epochs": steps.epochs(),
        "best_epoch": before + int(checkpoint.details.get("best_epoch", 0)),
        "validation_accuracy": on_validation.accuracy,
        "test_accuracy": evaluation["accuracy"],
        "seconds": evaluation["training_seconds"],
        "file_bytes": evaluation["file_bytes"],
        "evaluation": evaluation,
        "parameters": flatten(steps.parameters()),
        "history": history,
    }
    return model, record


def _one_after_the_other(histories: Mapping[str, History], epochs: Mapping[str, int]) -> History:
    """The trainings' rows as one curve: each goes on counting where the last one ended."""
    rows: History = []
    done = 0
    for stage, history in histories.items():
        rows += [row | {"epoch": done + int(row["epoch"])} for row in history]
        done += epochs[stage]
    return rows
