"""Deep Compression's own experiment: LeNet-300-100 and LeNet-5 in as few bytes as lose no accuracy.

Runs ``conf/deep_compression`` over networks and seeds: a dense fp32 network, its distilled double,
that one masked, and the masked one in few bits. The epoch of each is chosen on validation images;
each exported file is judged in ONNX Runtime, on the test images too. Bytes are those of the packed
files and are counted anew by ``table``, so it may be asked again without training.

A training that was stopped goes on after its last epoch, and one whose parameters have not changed
is not repeated; several processes may share the work, each with networks or seeds of its own.

    python benchmarks/deep_compression.py train
    python benchmarks/deep_compression.py train --networks=lenet300 --seeds=2
    python benchmarks/deep_compression.py table
    python benchmarks/deep_compression.py train --data=mnist     # data/01_raw/mnist
"""

import argparse
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from kedro.config import OmegaConfigLoader

from model_compression.deployment import (
    OnnxRuntimeClassifier,
    graph_cost,
    packed_size,
    read_onnx,
    write_onnx,
)
from model_compression.distillation import AnswerShelf
from model_compression.images import (
    DataParameters,
    ImageSet,
    Splits,
    compute_normalization,
    load_images,
)
from model_compression.models import Checkpoint
from model_compression.models.checkpoint import read_checkpoint, write_checkpoint
from model_compression.pipelines.distillation.nodes import train_student
from model_compression.pipelines.distillation.parameters import DistillationParameters
from model_compression.pipelines.pruning.nodes import train_pruned
from model_compression.pipelines.pruning.parameters import PruningParameters
from model_compression.pipelines.quantization.nodes import train_quantized
from model_compression.pipelines.quantization.parameters import QuantizationParameters
from model_compression.pipelines.stage.nodes import export, select_best
from model_compression.pipelines.teacher.nodes import train_teacher
from model_compression.pipelines.teacher.parameters import TeacherParameters
from model_compression.settings import CONFIG_LOADER_ARGS
from model_compression.training import (
    History,
    TrainingState,
    read_training_state,
    write_training_state,
)

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "data" / "08_reporting" / "deep_compression"
TABLE = ROOT / "docs" / "benchmarks" / "deep_compression.csv"
GOALS = {"lenet300": (40, 124), "lenet5": (39, 606)}
"""Times smaller than the dense weights: what Deep Compression itself reached on MNIST, and what is
known to be possible there."""
GROUPS = {
    "teacher": "teacher",
    "student": "distillation",
    "pruned": "pruning",
    "quantized": "quantization",
}
"""Each stage's group of parameters."""
FLOAT_BYTES = 4

Stream = Iterator[tuple[TrainingState, History]]


def configuration(network: str, seed: int, data: str | None, limit: int | None) -> dict[str, Any]:
    """The parameters that ``kedro run --env=deep_compression`` has, for a network and a seed."""
    given: dict[str, Any] = {group: {"training": {"seed": seed}} for group in GROUPS.values()}
    given["teacher"]["model"] = {"name": network}
    given["data"] = {"train_limit": limit, "test_limit": limit}
    if data is not None:
        given["data"]["source"] = {"kind": "idx", "folder": data}
    loader = OmegaConfigLoader(
        str(ROOT / "conf"), env="deep_compression", runtime_params=given, **CONFIG_LOADER_ARGS
    )
    parameters: dict[str, Any] = loader["parameters"]
    return parameters


class Experiment:
    """One network with one seed, in a folder of its own."""

    def __init__(self, network: str, seed: int, folder: Path, parameters: dict[str, Any]) -> None:
        self.network, self.seed = network, seed
        self.place = folder / f"{network}-seed{seed}"
        self.place.mkdir(parents=True, exist_ok=True)
        self.answers = AnswerShelf(self.place / "teacher_answers")
        self.parameters = parameters
        self.splits: Splits = load_images(
            DataParameters.model_validate(parameters["data"]), ROOT / "data" / "01_raw"
        )

    def run(self, last: str) -> None:
        """Trains, exports and judges the stages as far as ``last``."""
        train, validation, _ = self.splits
        images = (train, validation, compute_normalization(train))
        p = self.parameters
        dense = self._stage(
            "teacher",
            partial(train_teacher, *images, TeacherParameters.model_validate(p["teacher"])),
        )
        student = pruned = dense
        if last != "teacher":
            settings = DistillationParameters.model_validate(p["distillation"])
            student = self._stage(
                "student", partial(train_student, *images, dense, {}, self.answers, settings)
            )
        if last in ("pruned", "quantized"):
            masks = PruningParameters.model_validate(p["pruning"])
            pruned = self._stage(
                "pruned", partial(train_pruned, *images, dense, student, {}, self.answers, masks)
            )
        if last == "quantized":
            bits = QuantizationParameters.model_validate(p["quantization"])
            self._stage(
                "quantized",
                partial(train_quantized, *images, dense, pruned, {}, self.answers, bits),
            )

    def _stage(self, stage: str, train: Callable[[TrainingState | None], Stream]) -> Checkpoint:
        """The stage's best network; its file and its record are written if it is a new one."""
        path = self.place / f"{stage}.state.safetensors"
        resume = read_training_state(path) if path.exists() else None
        for state, _ in train(resume):
            if resume is not state:
                write_training_state(state, path)
        best = select_best(state)
        stored = self.place / f"{stage}.safetensors"
        if stored.exists() and read_checkpoint(stored).fingerprint == best.fingerprint:
            return best
        # What was made from another network is no record of this one.
        for later in list(GROUPS)[list(GROUPS).index(stage) :]:
            (self.place / f"{later}.json").unlink(missing_ok=True)
        model = export(best)
        classifier = OnnxRuntimeClassifier(model)

        def accuracy(images: ImageSet) -> float:
            return float((classifier.logits(images.images).argmax(axis=1) == images.labels).mean())

        record = {
            "network": self.network,
            "seed": self.seed,
            "stage": stage,
            "validation_accuracy": accuracy(self.splits.validation),
            "accuracy": accuracy(self.splits.test),
            "epochs": len(state.history),
            "best_epoch": best.details["best_epoch"],
            "seconds": sum(row["seconds"] for row in state.history),
        }
        write_onnx(model, self.place / f"{stage}.onnx")
        (self.place / f"{stage}.json").write_text(json.dumps(record, indent=1))
        # Last, because it says that the others are those of this network.
        write_checkpoint(best, stored)
        print(json.dumps(record | {"packed_bytes": packed_size(model.content)}), flush=True)
        return best


def records(folder: Path) -> pd.DataFrame:
    """A row a network, seed and stage that is finished: accuracies and what the file costs."""
    rows = []
    for path in sorted(folder.glob("*-seed*/*.json")):
        model = read_onnx(path.with_suffix(".onnx"))
        cost = graph_cost(model)
        rows.append(
            json.loads(path.read_text())
            | {
                "parameters": cost.parameters,
                "nonzero_parameters": cost.nonzero_parameters,
                "file_bytes": model.size,
                "packed_bytes": packed_size(model.content),
            }
        )
    if not rows:
        raise SystemExit(f"there is no record in {folder}: run the command train first")
    return pd.DataFrame(rows)


def summary(found: pd.DataFrame) -> pd.DataFrame:
    """A row a network and stage: means over the seeds, changes against the dense network.

    ``ratio`` is 4 bytes a parameter of the dense network over ``packed_bytes``, ``file_ratio`` the
    dense network's packed file over it.
    """
    rows = []
    for network, mine in found.groupby("network", sort=False):
        dense = mine[mine["stage"] == "teacher"].set_index("seed")
        for stage in GROUPS:
            here = mine[mine["stage"] == stage].set_index("seed")
            if here.empty:
                continue
            change = (here["accuracy"] - dense["accuracy"]).dropna()
            weights = FLOAT_BYTES * dense["parameters"]
            rows.append(
                {
                    "network": network,
                    "stage": stage,
                    "seeds": len(here),
                    "epochs": here["epochs"].mean(),
                    "validation_accuracy": here["validation_accuracy"].mean(),
                    "accuracy": here["accuracy"].mean(),
                    "accuracy_sd": here["accuracy"].std(),
                    "change": change.mean(),
                    "change_sd": change.std(),
                    "change_lowest": change.min(),
                    "nonzero_parameters": here["nonzero_parameters"].mean(),
                    "file_bytes": here["file_bytes"].mean(),
                    "packed_bytes": here["packed_bytes"].mean(),
                    "ratio": (weights / here["packed_bytes"]).mean(),
                    "ratio_lowest": (weights / here["packed_bytes"]).min(),
                    "file_ratio": (dense["packed_bytes"] / here["packed_bytes"]).mean(),
                }
            )
    return pd.DataFrame(rows)


def markdown(table: pd.DataFrame) -> str:
    """The table as it is in the documentation."""
    lines = [
        "| network | stage | accuracy | against dense | parameters that are not 0 | packed "
        "| below dense fp32 weights | below the dense file, packed |",
        "| --- | --- | --: | --: | --: | --: | --: | --: |",
    ]
    for row in (pd.Series(row) for row in table.to_dict("records")):
        lines.append(
            f"| {row.network} | {row.stage} "
            f"| {100 * row.accuracy:.2f} ± {100 * row.accuracy_sd:.2f} % "
            f"| {100 * row.change:+.2f} ± {100 * row.change_sd:.2f} "
            f"| {row.nonzero_parameters:,.0f} | {row.packed_bytes:,.0f} B "
            f"| {row.ratio:.1f} × | {row.file_ratio:.1f} × |"
        )
    return "\n".join(lines)


def main() -> None:
    """Trains what is missing, or prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["train", "table"])
    parser.add_argument("--networks", default=",".join(GOALS))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--last", choices=list(GROUPS), default="quantized", help="stage to end at")
    parser.add_argument("--data", help="a folder of data/01_raw in MNIST's format")
    parser.add_argument("--images", type=int, help="use only so many of each set")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where everything is kept")
    parser.add_argument("--table", type=Path, default=TABLE, help="CSV, a row a network and stage")
    arguments = parser.parse_args()
    networks = arguments.networks.split(",")
    if unknown := set(networks) - set(GOALS):
        parser.error(f"there is no network {', '.join(unknown)}; there are {', '.join(GOALS)}")
    folder = arguments.folder / (arguments.data or "default")
    torch.set_num_threads(1)
    if arguments.command == "train":
        for seed in map(int, arguments.seeds.split(",")):
            for network in networks:
                given = configuration(network, seed, arguments.data, arguments.images)
                Experiment(network, seed, folder, given).run(arguments.last)
        return
    table = summary(records(folder))
    arguments.table.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(arguments.table, index=False, float_format="%.6g")
    print(markdown(table))
    for network, (least, goal) in GOALS.items():
        row = table[(table["network"] == network) & (table["stage"] == "quantized")]
        if len(row):
            print(
                f"{network}: {row['ratio'].item():.1f} × (asked for {least}, goal {goal}), "
                f"{100 * row['change'].item():+.2f} points of accuracy"
            )


if __name__ == "__main__":
    main()
