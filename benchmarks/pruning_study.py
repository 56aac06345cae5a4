"""What pruning takes and gives: a ResNet-56 with fewer channels and with fewer weights, over seeds.

Every trial starts from the dense network of its seed, has the same budget of fine-tuning on the
labels, chooses its epoch on validation images, and is judged on its ONNX file on the test images.
``tuned`` is fine-tuned and loses nothing: what the budget alone brings. Files of one seed are timed
against each other by turns, on one thread.

A trial whose record is in the folder is left out, so a run that was stopped goes on, and several
processes may share the work, each with seeds or trials of its own. After a change of what is
trained, take another folder.

    python benchmarks/pruning_study.py train
    python benchmarks/pruning_study.py train --seeds=2 --only=dense,channels_2x
    python benchmarks/pruning_study.py table
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from model_compression.deployment import (
    OnnxRuntimeClassifier,
    graph_cost,
    measure_latency,
    packed_size,
    read_onnx,
    write_onnx,
)
from model_compression.evaluation import summarise
from model_compression.images import (
    AugmentationParameters,
    DataParameters,
    Normalization,
    Splits,
    compute_normalization,
    load_images,
)
from model_compression.models import Checkpoint, ModelSettings, build_model
from model_compression.models.checkpoint import read_checkpoint, write_checkpoint
from model_compression.pipelines.pruning.nodes import prune_and_tune
from model_compression.pipelines.pruning.parameters import PruningParameters
from model_compression.pipelines.pruning_sensitivity.nodes import allocate_ratios, scan
from model_compression.pipelines.pruning_sensitivity.parameters import SensitivityParameters
from model_compression.pipelines.stage.nodes import export, new_checkpoint, select_best
from model_compression.pruning import ChannelPruningSettings, MaskPruningSettings, PruningMethod
from model_compression.training import (
    CrossEntropy,
    Objective,
    Trainee,
    TrainingSettings,
    TrainingState,
    fit,
)

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "data" / "08_reporting" / "pruning_study"
TABLE = ROOT / "docs" / "benchmarks" / "pruning_study.csv"
NETWORK = ModelSettings(name="resnet56", options={"stem_stride": 2})
DENSE, TUNED = "dense", "tuned"
ALLOCATED = "_allocated"
"""Ends the name of a trial whose layers lose what the pipeline pruning_sensitivity allocates."""
SENSITIVITY = SensitivityParameters(
    ratios=[0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875], images=1000
)
CHANNELS = {"2x": 2, "3x": 3, "5x": 5}
SPARSITIES = (50, 80, 90, 95, 98)
DENSE_EPOCHS, TUNING_EPOCHS = 14, 4
BATCHES = (1, 64)


def trials() -> dict[str, PruningMethod | None]:
    """What is pruned how; ``None`` where nothing is."""
    channels = {
        f"channels_{name}": ChannelPruningSettings(
            method="channels", target="macs", ratio=1 - 1 / times, importance="taylor"
        )
        for name, times in CHANNELS.items()
    }
    gradual = {
        f"weights_{percent}": MaskPruningSettings(
            method="weights", sparsity=percent / 100, schedule={"name": "cubic", "end": 0.5}
        )
        for percent in SPARSITIES
    }
    at_once = {
        f"weights_{percent}_one_shot": MaskPruningSettings(
            method="weights", sparsity=percent / 100, schedule={"name": "one_shot"}
        )
        for percent in SPARSITIES[-2:]
    }
    return {
        DENSE: None,
        TUNED: None,
        **channels,
        f"channels_3x{ALLOCATED}": channels["channels_3x"],
        **gradual,
        **at_once,
        "weights_95_early": MaskPruningSettings(
            method="weights", sparsity=0.95, schedule={"name": "cubic", "end": 0.2}
        ),
    }


def recipe(epochs: int, learning_rate: float, seed: int) -> TrainingSettings:
    """Of the dense network and, shorter and slower, of every fine-tuning."""
    return TrainingSettings(
        epochs=epochs,
        batch_size=128,
        optimizer={"name": "sgd", "learning_rate": learning_rate, "weight_decay": 5e-4},
        schedule={"name": "one_cycle", "warmup_epochs": 2 if epochs == DENSE_EPOCHS else 0.5},
        gradient_clip=10,
        augmentation=AugmentationParameters(horizontal_flip=0.5, crop_padding=1),
        seed=seed,
    )


class Study:
    """The images and the folder of the trials."""

    def __init__(self, folder: Path, images: int | None) -> None:
        self.folder = folder
        parameters = DataParameters(
            source={"kind": "idx"}, train_limit=images, validation_fraction=1 / 12
        )
        self.splits: Splits = load_images(parameters, ROOT / "data" / "01_raw")
        self.normalization: Normalization = compute_normalization(self.splits.train)

    def run(self, name: str, seed: int) -> None:
        """Trains and judges a trial, unless its record is there."""
        place = self.folder / f"{name}-seed{seed}"
        if (place / "record.json").exists():
            return
        started = time.perf_counter()
        for state in self._training(name, seed):
            last = state
        seconds = time.perf_counter() - started
        best = select_best(last)
        model = export(best)
        logits = OnnxRuntimeClassifier(model).logits(self.splits.test.images)
        record = {
            "trial": name,
            "seed": seed,
            "best_epoch": best.details["best_epoch"],
            "validation_accuracy": last.history[best.details["best_epoch"] - 1][
                "validation_accuracy"
            ],
            "accuracy": summarise(logits, self.splits.test.labels, model.classes).accuracy,
            "seconds": seconds,
        }
        place.mkdir(parents=True, exist_ok=True)
        write_checkpoint(best, place / "model.safetensors")
        write_onnx(model, place / "model.onnx")
        (place / "record.json").write_text(json.dumps(record, indent=1))
        print(json.dumps(record), flush=True)

    def dense(self, seed: int) -> Checkpoint:
        """The network that the others of its seed start from."""
        return read_checkpoint(self.folder / f"{DENSE}-seed{seed}" / "model.safetensors")

    def _training(self, name: str, seed: int) -> Iterator[TrainingState]:
        splits = self.splits
        if name == DENSE:
            settings = recipe(DENSE_EPOCHS, 0.1, seed)
            spec = NETWORK.spec(splits.train.image_shape, len(splits.train.classes))
            start = new_checkpoint(
                name, spec, settings, splits.train, splits.validation, self.normalization
            )
            prepare = partial(_fresh, start, seed)
            return fit(prepare, start, splits.train, splits.validation, settings)
        settings = recipe(TUNING_EPOCHS, 0.05, seed)
        source = self.dense(seed)
        start = replace(source, weights={}, stage=name, details={})
        method = trials()[name]
        if method is None:
            return fit(
                lambda: Trainee(source.build(), CrossEntropy()),
                start,
                splits.train,
                splits.validation,
                settings,
            )
        if name.endswith(ALLOCATED):
            method = self._allocated(source, method, settings)
        return prune_and_tune(
            source, start, method, _labels, settings, splits.train, splits.validation
        )

    def _allocated(
        self, source: Checkpoint, method: PruningMethod, training: TrainingSettings
    ) -> PruningMethod:
        """The same with the shares of layers that the pipeline would write into a file."""
        pruning = PruningParameters(
            pruning=method, distillation={"method": "none"}, training=training
        )
        given = (self.splits.train, self.splits.validation, source)
        table = scan(*given, pruning, SENSITIVITY)
        found, _ = allocate_ratios(*given, table, pruning, SENSITIVITY)
        return method.model_copy(update=found["pruning"]["pruning"])

    def records(self) -> pd.DataFrame:
        """What is known of all trials that are finished, with what their files cost."""
        rows = []
        for path in sorted(self.folder.glob("*/record.json")):
            model = read_onnx(path.with_name("model.onnx"))
            cost = graph_cost(model)
            costs = {
                "macs": cost.macs,
                "parameters": cost.parameters,
                "nonzero_parameters": cost.nonzero_parameters,
                "file_bytes": model.size,
                "packed_bytes": packed_size(model.content),
            }
            rows.append(json.loads(path.read_text()) | costs)
        return pd.DataFrame(rows)

    def latencies(self, seed: int, repeats: int) -> pd.DataFrame:
        """Of each trial of the seed: the median milliseconds, and the dense network's over them."""
        files = {
            path.parent.name.rpartition("-seed")[0]: read_onnx(path)
            for path in sorted(self.folder.glob(f"*-seed{seed}/model.onnx"))
        }
        times = measure_latency(
            files, self.splits.test.images[:64], batch_sizes=BATCHES, repeats=repeats, warmup=5
        )
        rows = []
        for batch in BATCHES:
            turns = times[times["batch_size"] == batch].pivot(
                index="repeat", columns="stage", values="latency_ms"
            )
            rows += [
                {
                    "trial": name,
                    "seed": seed,
                    "batch": batch,
                    "latency_ms": turns[name].median(),
                    "speedup": (turns[DENSE] / turns[name]).median(),
                }
                for name in turns.columns
            ]
        return pd.DataFrame(rows)


def _fresh(start: Checkpoint, seed: int) -> Trainee:
    torch.manual_seed(seed)
    return Trainee(build_model(start.spec), CrossEntropy())


def _labels(network: nn.Module) -> Objective:
    return CrossEntropy()


def summary(records: pd.DataFrame, times: pd.DataFrame) -> pd.DataFrame:
    """A row a trial: means and standard deviations over its seeds, changes against the dense."""
    dense = records[records["trial"] == DENSE].set_index("seed")
    rows = []
    for name in trials():
        mine = records[records["trial"] == name].set_index("seed")
        if not len(mine):
            continue
        change = (mine["accuracy"] - dense["accuracy"]).dropna()
        row: dict[str, Any] = {
            "trial": name,
            "seeds": len(mine),
            "accuracy": mine["accuracy"].mean(),
            "accuracy_sd": mine["accuracy"].std(),
            "validation_accuracy": mine["validation_accuracy"].mean(),
            "change": change.mean(),
            "change_sd": change.std(),
            "macs_ratio": (dense["macs"] / mine["macs"]).mean(),
            "parameters": mine["parameters"].mean(),
            "nonzero_parameters": mine["nonzero_parameters"].mean(),
            "file_bytes": mine["file_bytes"].mean(),
            "packed_bytes": mine["packed_bytes"].mean(),
        }
        for batch in BATCHES:
            here = times[(times["trial"] == name) & (times["batch"] == batch)]
            row[f"latency_ms_batch{batch}"] = here["latency_ms"].median()
            row[f"speedup_batch{batch}"] = here["speedup"].median()
            row[f"speedup_batch{batch}_lowest"] = here["speedup"].min()
        rows.append(row)
    return pd.DataFrame(rows)


def markdown(table: pd.DataFrame) -> str:
    """The table as it is in the documentation."""
    lines = [
        "| trial | accuracy | against dense | fewer MACs | weights that are not 0 | packed "
        "| 1 image | faster | 64 images | faster |",
        "| --- | --: | --: | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for row in (pd.Series(row) for row in table.to_dict("records")):
        lines.append(
            f"| {row.trial} | {100 * row.accuracy:.2f} ± {100 * row.accuracy_sd:.2f} % "
            f"| {100 * row.change:+.2f} ± {100 * row.change_sd:.2f} | {row.macs_ratio:.2f} × "
            f"| {row.nonzero_parameters:,.0f} | {row.packed_bytes / 1e3:,.1f} kB "
            f"| {1e3 * row.latency_ms_batch1:.0f} µs | {row.speedup_batch1:.2f} × "
            f"| {row.latency_ms_batch64:.1f} ms | {row.speedup_batch64:.2f} × |"
        )
    return "\n".join(lines)


def main() -> None:
    """Trains what is missing, or times the files and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["train", "table"])
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--only", help="names of trials with commas; otherwise all")
    parser.add_argument("--images", type=int, default=30_000, help="validation included")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where trials are kept")
    parser.add_argument("--repeats", type=int, default=50, help="turns of each file")
    parser.add_argument("--table", type=Path, default=TABLE, help="CSV, a row a trial")
    arguments = parser.parse_args()
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    names = arguments.only.split(",") if arguments.only else list(trials())
    unknown = set(names) - set(trials())
    if unknown:
        parser.error(f"there is no trial {', '.join(unknown)}; there are {', '.join(trials())}")
    torch.set_num_threads(1)
    study = Study(arguments.folder, arguments.images)
    if arguments.command == "train":
        for seed in seeds:
            for name in names:
                study.run(name, seed)
        return
    times = pd.concat([study.latencies(seed, arguments.repeats) for seed in seeds])
    table = summary(study.records(), times)
    arguments.table.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(arguments.table, index=False, float_format="%.6g")
    print(markdown(table))


if __name__ == "__main__":
    main()
