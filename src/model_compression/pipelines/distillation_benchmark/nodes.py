"""The trials: trained one after the other, judged on their files, compared."""

import gc
import logging
from collections.abc import Iterator, Mapping

import pandas as pd
import torch
from plotly.graph_objects import Figure

from model_compression import reporting
from model_compression.deployment import OnnxRuntimeClassifier
from model_compression.distillation import AnswerShelf
from model_compression.evaluation import summarise
from model_compression.images import ImageSet, Normalization
from model_compression.models import Checkpoint, build_model
from model_compression.parameters import flatten
from model_compression.pipelines.distillation_benchmark.parameters import (
    BenchmarkParameters,
    Recipe,
)
from model_compression.pipelines.stage.nodes import (
    export,
    learn_from,
    new_checkpoint,
    select_best,
)
from model_compression.pipelines.trials import Run, TrialRecord
from model_compression.training import History, Trainee, fit

logger = logging.getLogger(__name__)


def run_trials(
    train_images: ImageSet,
    validation_images: ImageSet,
    test_images: ImageSet,
    normalization: Normalization,
    teacher: Checkpoint,
    teacher_answers: AnswerShelf,
    parameters: BenchmarkParameters,
    known_checkpoints: Mapping[str, Checkpoint],
    known_trials: Mapping[str, TrialRecord],
) -> Iterator[tuple[dict[str, Checkpoint], dict[str, TrialRecord]]]:
    """Trains what is not trained yet, teachers first; yields each run when it is finished.

    Args:
        train_images: Images to learn from.
        validation_images: Images by which each run's best epoch is chosen.
        test_images: Images that the files are judged on, for the table alone.
        normalization: Of the images.
        teacher: The project's; it stays as it is.
        teacher_answers: Where the teachers' stored logits are found and kept.
        parameters: Which runs.
        known_checkpoints: The folder that the yielded checkpoints are saved into; it is looked at
            whenever a run needs it, so runs that another process has finished count too.
        known_trials: Likewise of the records.

    Yields:
        The checkpoint and the record of a new run, by its key; nothing in them at the end.
    """
    runs = parameters.runs()
    for number, run in enumerate(runs, start=1):
        recipe = parameters.recipe(run)
        teachers = [
            teacher if other is None else known_checkpoints[other.key]
            for other in parameters.teachers_of(run)
        ]
        start = new_checkpoint(
            run.key,
            recipe.model.spec(train_images.image_shape, len(train_images.classes)),
            recipe,
            train_images,
            validation_images,
            normalization,
            *teachers,
        )
        record = _stored_record(start, known_checkpoints, known_trials)
        if record is not None and record["test_fingerprint"] == test_images.fingerprint:
            logger.info("%s: nothing has changed, so the stored trial is reused", run.key)
            continue
        if record is None:
            logger.info("%s: trial %d of %d", run.key, number, len(runs))
            checkpoint, history = _train(
                start, recipe, teachers, teacher, train_images, validation_images, teacher_answers
            )
        else:
            logger.info("%s: the test images have changed, so it is judged anew", run.key)
            checkpoint, history = known_checkpoints[run.key], record["history"]
        record = _judge(run, recipe, checkpoint, history, test_images)
        yield {run.key: checkpoint}, {run.key: record}
        # Networks and their hooks refer to each other in circles, and may be large.
        gc.collect()
    # Kedro looks at a generator's first item, so there has to be one even if all was reused.
    yield {}, {}


def compare_trials(
    trials: Mapping[str, TrialRecord], parameters: BenchmarkParameters
) -> pd.DataFrame:
    """The table of the configured trials, in their order; others in the folder are left out.

    Raises:
        ValueError: If one of them has not been run.
    """
    chosen = parameters.chosen()
    missing = [run.key for run in parameters.runs() if run.key not in trials]
    if missing:
        raise ValueError(
            f"there is no record of {', '.join(missing)}: run the pipeline from its node run_trials"
        )
    table = reporting.trial_table(
        {
            name: {seed: trials[Run(name, seed).key] for seed in parameters.seeds_of(name)}
            for name in chosen
        },
        teachers={name: parameters.trials[name].asked for name in chosen},
        controls={name: parameters.control_of(name) for name in chosen},
    )
    alone = table[table["gain"].isna() & (table["trial"] != table["control"])]
    if len(alone):
        logger.warning(
            "no seed in common with their control, so no gain: %s", ", ".join(alone["trial"])
        )
    return table


def draw(comparison: pd.DataFrame) -> Figure:
    """The gains over the control, with their intervals."""
    return reporting.trial_gains(comparison)


def _stored_record(
    start: Checkpoint,
    checkpoints: Mapping[str, Checkpoint],
    trials: Mapping[str, TrialRecord],
) -> TrialRecord | None:
    """The stored record of the very run that ``start`` begins, if its checkpoint is there too."""
    record = trials.get(start.stage)
    checkpoint = checkpoints.get(start.stage)
    if record is None or checkpoint is None:
        return None
    if {record["fingerprint"], checkpoint.fingerprint} != {start.fingerprint}:
        logger.info(
            "%s: its data, parameters or teachers have changed since it was trained", start.stage
        )
        return None
    return record


def _train(
    start: Checkpoint,
    recipe: Recipe,
    teachers: list[Checkpoint],
    teacher: Checkpoint,
    train: ImageSet,
    validation: ImageSet,
    answers: AnswerShelf,
) -> tuple[Checkpoint, History]:
    def prepare() -> Trainee:
        # The student comes first, so that every method starts from the same one.
        torch.manual_seed(recipe.training.seed)
        student = build_model(start.spec)
        objective = learn_from(
            teachers or [teacher],
            recipe.distillation,
            student,
            start.spec,
            recipe.training,
            train,
            answers,
            recipe.combine,
        )
        return Trainee(student, objective)

    for state in fit(prepare, start, train, validation, recipe.training):
        last = state
    return select_best(last), last.history


def _judge(
    run: Run, recipe: Recipe, checkpoint: Checkpoint, history: History, test: ImageSet
) -> TrialRecord:
    """Measures the run's file in ONNX Runtime; the epoch was chosen on the validation images."""
    model = export(checkpoint)
    logits = OnnxRuntimeClassifier(model).logits(test.images)
    summary = summarise(logits, test.labels, model.classes)
    best_epoch = int(checkpoint.details["best_epoch"])
    return {
        "name": run.trial,
        "seed": run.seed,
        "method": recipe.distillation.method,
        "architecture": checkpoint.spec.name,
        "fingerprint": checkpoint.fingerprint,
        "test_fingerprint": test.fingerprint,
        "best_epoch": best_epoch,
        "validation_accuracy": history[best_epoch - 1]["validation_accuracy"],
        "test_accuracy": summary.accuracy,
        "test_images": summary.images,
        "seconds": sum(row["seconds"] for row in history),
        "file_bytes": model.size,
        "parameters": flatten(recipe.model_dump(mode="json")),
        "history": history,
    }
