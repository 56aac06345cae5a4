"""How long the product trains until it is right often enough on Fashion-MNIST.

A training with the one-cycle schedule, fitted to its epochs. The clock stops after the first epoch
whose VALIDATION accuracy passes a mark; the test images are asked only then, off the clock, and
say what that was worth. On the clock: choosing how steps are computed, building the network, the
epochs with their validation, and writing the training state after each.

A long schedule is right more often in the end and passes an easy mark later; several lengths show
which passes first.

    python benchmarks/time_to_accuracy.py --model=resnet8 --epochs=2,4,8 --seeds=0,1,2
    python benchmarks/time_to_accuracy.py --model=net --epochs=4,8,16 --seeds=0,1,2
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from model_compression.evaluation import score
from model_compression.images import (
    AugmentationParameters,
    Batches,
    DataParameters,
    Normalization,
    Splits,
    compute_normalization,
    load_images,
)
from model_compression.models import ModelSettings, build_model, build_with_weights
from model_compression.pipelines.stage.nodes import new_checkpoint
from model_compression.pipelines.teacher.parameters import TeacherParameters
from model_compression.training import (
    CrossEntropy,
    Trainee,
    TrainingSettings,
    TrainingState,
    fit,
    write_training_state,
)
from results import FOLDER, keep, surroundings

RAW = Path(__file__).parents[1] / "data" / "01_raw"
WARM_UP = 0.2
"""Share of the epochs before the peak of the learning rate."""
SGD = {"name": "sgd", "learning_rate": 0.2, "weight_decay": 0.0005}
ADAMW = {"name": "adamw", "learning_rate": 0.004, "weight_decay": 0.01}
WITHOUT_NORMS = ("net", "lenet300", "lenet5")
"""Networks without batch norms, which SGD's large steps don't suit."""


class Passed(NamedTuple):
    """The first epoch that passes a mark."""

    epoch: int
    seconds: float
    validation_accuracy: float
    test_accuracy: float


def recipe(model: str, epochs: int, batch: int, seed: int, precision: str) -> TeacherParameters:
    """A short training of a network of the zoo."""
    training = TrainingSettings.model_validate(
        {
            "epochs": epochs,
            "batch_size": batch,
            "optimizer": ADAMW if model in WITHOUT_NORMS else SGD,
            "schedule": {"name": "one_cycle", "warmup_epochs": WARM_UP * epochs},
            "augmentation": AugmentationParameters(crop_padding=1),
            "precision": precision,
            "seed": seed,
        }
    )
    return TeacherParameters(model=ModelSettings(name=model), training=training)


def run(
    parameters: TeacherParameters,
    images: Splits,
    normalization: Normalization,
    marks: Sequence[float],
) -> tuple[dict[float, Passed], float, TrainingState]:
    """Trains to the end; the marks that were passed, the seconds of it all, and the last state."""
    spec = parameters.model.spec(images.train.image_shape, len(images.train.classes))
    start = new_checkpoint(
        "teacher", spec, parameters, images.train, images.validation, normalization
    )

    def prepare() -> Trainee:
        torch.manual_seed(parameters.training.seed)
        return Trainee(build_model(spec), CrossEntropy())

    def accuracy_on_test(state: TrainingState) -> float:
        network = build_with_weights(spec, state.averaged or state.weights)
        batches = Batches(images.test, normalization, batch_size=500, device="cpu", shuffle=False)
        return score(network, batches).accuracy

    passed: dict[float, Passed] = {}
    seconds = 0.0
    with tempfile.TemporaryDirectory() as folder:
        states = fit(prepare, start, images.train, images.validation, parameters.training)
        while True:
            began = time.perf_counter()
            state = next(states)
            write_training_state(state, Path(folder) / "state.safetensors")
            seconds += time.perf_counter() - began
            accuracy = state.history[-1]["validation_accuracy"]
            new = [mark for mark in marks if accuracy >= mark and mark not in passed]
            if new:
                tested = accuracy_on_test(state)
                passed |= {mark: Passed(state.epoch, seconds, accuracy, tested) for mark in new}
            if state.finished:
                return passed, seconds, state


def _rows(model: str, given: argparse.Namespace) -> list[dict[str, Any]]:
    images = load_images(
        DataParameters(
            source={"kind": "idx"}, train_limit=given.images, test_limit=given.test_images
        ),
        RAW,
    )
    normalization = compute_normalization(images.train)
    rows = []
    for epochs in given.epochs:
        for seed in given.seeds:
            parameters = recipe(model, epochs, given.batch, seed, given.precision)
            passed, seconds, last = run(parameters, images, normalization, given.marks)
            for mark in given.marks:
                found = passed.get(mark)
                rows.append(
                    {
                        "model": model,
                        "epochs": epochs,
                        "batch": given.batch,
                        "seed": seed,
                        "mark": mark,
                        "epoch": found.epoch if found else "",
                        "seconds": round(found.seconds, 2) if found else "",
                        "validation_accuracy": found.validation_accuracy if found else "",
                        "test_accuracy": found.test_accuracy if found else "",
                        "seconds_in_all": round(seconds, 2),
                        "last_validation_accuracy": last.history[-1]["validation_accuracy"],
                        "execution": str(last.execution),
                        "training_images": len(images.train),
                        **surroundings(),
                    }
                )
                print(_line(rows[-1]), flush=True)
    return rows


def _line(row: dict[str, Any]) -> str:
    what = f"| {row['model']} | {row['epochs']} | {row['seed']} | {row['mark']:.0%} | "
    if row["epoch"] == "":
        return f"{what}not passed ({row['last_validation_accuracy']:.2%}) | | | |"
    return (
        f"{what}{row['seconds']:.1f} | {row['epoch']} | {row['validation_accuracy']:.2%} | "
        f"{row['test_accuracy']:.2%} |"
    )


def fastest(rows: Sequence[dict[str, Any]], mark: float) -> tuple[int, float] | None:
    """The schedule that every seed passes ``mark`` with soonest, and the median of its seconds."""
    medians = {}
    for epochs in {row["epochs"] for row in rows}:
        found = [row for row in rows if row["epochs"] == epochs and row["mark"] == mark]
        if found and all(row["epoch"] != "" for row in found):
            medians[epochs] = statistics.median(row["seconds"] for row in found)
    return min(medians.items(), key=lambda item: item[1], default=None)


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def _shares(text: str) -> list[float]:
    marks = [float(word) for word in text.split(",")]
    if not all(0 < mark < 1 for mark in marks):
        raise argparse.ArgumentTypeError(f"expected shares between 0 and 1; got {text}")
    return marks


def main() -> None:
    """Trains, prints the table and the fastest schedule for each mark, and keeps the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="resnet8", help="of the zoo; several with commas")
    parser.add_argument("--epochs", type=_numbers, default=[4], help="lengths of the schedule")
    parser.add_argument("--seeds", type=_numbers, default=[0])
    parser.add_argument("--marks", type=_shares, default=[0.9, 0.93])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--precision", default="auto", help="auto, float32 or bfloat16")
    parser.add_argument("--images", type=int, help="of the training images; all if left out")
    parser.add_argument("--test-images", type=int, help="of the test images; all if left out")
    parser.add_argument("--table", type=Path, default=FOLDER / "time_to_accuracy.csv")
    given = parser.parse_args()
    print("| model | epochs | seed | mark | s | epoch | validation | test |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for model in given.model.split(","):
        rows = _rows(model, given)
        keep(given.table, rows, ["model", "epochs", "batch", "seed", "mark", "training_images"])
        for mark in given.marks:
            best = fastest(rows, mark)
            if best is None:
                print(f"\n{model}: {mark:.0%} is passed by every seed at none of these lengths")
            else:
                print(
                    f"\n{model}: {mark:.0%} soonest in {best[0]} epochs, {best[1]:.1f} s (median)"
                )


if __name__ == "__main__":
    main()
