"""What few bits cost: one float network, quantized in several ways by several seeds.

    kedro run --pipelines=data_preparation,teacher,distillation
    python benchmarks/quantization_study.py --seeds=0,1,2

Reads the images, the teacher and, as the network to quantize, the student under ``data``; writes a
row a trial into ``--table`` as soon as it is finished, leaves out what is there already, and prints
the table. Accuracies are those of the exported files on the
test images.
"""

import argparse
import csv
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from model_compression.datasets import (
    AnswerShelfDataset,
    ImageSetDataset,
    NormalizationDataset,
)
from model_compression.deployment import (
    OnnxModel,
    OnnxRuntimeClassifier,
    compare_logits,
    packed_size,
)
from model_compression.evaluation import mcnemar_test, predict_logits
from model_compression.images import ImageSet
from model_compression.models import Checkpoint
from model_compression.models.checkpoint import read_checkpoint
from model_compression.pipelines.quantization.nodes import train_quantized
from model_compression.pipelines.quantization.parameters import QuantizationParameters
from model_compression.pipelines.stage.nodes import export, load_module

TABLE = Path("docs/benchmarks/quantization_study.csv")
COLUMNS = (
    "source",
    "trial",
    "seed",
    "epochs",
    "accuracy",
    "drop",
    "p_value",
    "agreement",
    "validation_accuracy",
    "file_bytes",
    "packed_bytes",
    "seconds",
)
TRIALS: dict[str, tuple[dict[str, Any], int, float]] = {
    "static 8": ({"method": "static"}, 0, 0.0),
    "static 8, min-max, nearest": (
        {
            "method": "static",
            "weight_range": {"method": "min_max"},
            "activation_range": {"method": "min_max"},
            "correct_biases": False,
        },
        0,
        0.0,
    ),
    "static 8, whole range": ({"method": "static", "reduce_range": False}, 0, 0.0),
    "weight_only 8": ({"method": "weight_only"}, 0, 0.0),
    "static 4, nearest": ({"method": "static", "weight_bits": 4, "correct_biases": False}, 0, 0.0),
    "static 4, corrected": ({"method": "static", "weight_bits": 4}, 0, 0.0),
    "static 4, adaround": ({"method": "static", "weight_bits": 4, "rounding": {}}, 0, 0.0),
    "qat 8": ({"method": "qat"}, 1, 0.005),
    "qat 4, learned steps": (
        {"method": "qat", "weight_bits": 4, "grid_steps": "learned", "end_bits": 8},
        2,
        0.01,
    ),
    "qat 2, learned steps": (
        {"method": "qat", "weight_bits": 2, "grid_steps": "learned", "end_bits": 8},
        6,
        0.02,
    ),
    "qat 2, codebook": (
        {"method": "qat", "weight_bits": 2, "grid_steps": "codebook", "end_bits": 8},
        6,
        0.02,
    ),
}
"""By name: the settings, the epochs and the learning rate."""


def main() -> None:
    """Runs what is missing and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--source", type=Path, help="checkpoint of the float network")
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--only", help="trials, by name, separated by semicolons")
    parser.add_argument("--epochs", type=int, help="instead of a trial's own")
    options = parser.parse_args()
    path = options.table
    rows = list(csv.DictReader(path.open())) if path.exists() else []
    study = _Study(options.data, options.source)
    wanted = options.only.split(";") if options.only else list(TRIALS)
    for seed in map(int, options.seeds.split(",")):
        for name in wanted:
            if study.key(name, seed, options.epochs) in map(known, rows):
                continue
            row = study.run(name, seed, options.epochs)
            print(row, flush=True)
            rows.append({key: str(value) for key, value in row.items()})
            with path.open("w", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)
    print(table([row for row in rows if row.get("source") == study.of], study.accuracy))


Key = tuple[str | None, str, int, int]


def known(row: dict[str, str]) -> Key:
    """What a row is of: the float network, the trial, its seed and its epochs."""
    return row.get("source"), row["trial"], int(row["seed"]), int(row["epochs"])


class _Study:
    def __init__(self, data: Path, source: Path | None) -> None:
        inputs, models = data / "05_model_input", data / "06_models"
        self.images: dict[str, ImageSet] = {
            split: ImageSetDataset(filepath=str(inputs / split)).load()
            for split in ("train", "validation", "test")
        }
        self.normalization = NormalizationDataset(
            filepath=str(inputs / "normalization.json")
        ).load()
        self.teacher = read_checkpoint(models / "teacher" / "model.safetensors")
        self.source = read_checkpoint(source or models / "student" / "model.safetensors")
        self.answers = AnswerShelfDataset(filepath=str(models / "teacher_answers")).load()
        groups = yaml.safe_load(Path("conf/base/parameters_quantization.yml").read_text())
        self.defaults = groups["quantization"]
        before = export(self.source)
        self.of = self.source.fingerprint
        self.correct = self.right(before)
        self.accuracy = float(self.correct.mean())
        print(f"float: {self.accuracy:.4f}, {before.size} bytes", flush=True)

    def right(self, model: OnnxModel) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which test images the file gets right."""
        test = self.images["test"]
        answers = OnnxRuntimeClassifier(model).logits(test.images).argmax(axis=1)
        return np.asarray(answers == test.labels)

    def agreement(self, checkpoint: Checkpoint, model: OnnxModel) -> float:
        """Share of the test images to which the file and its network give the same answer."""
        test = self.images["test"]
        network = predict_logits(load_module(checkpoint), test, self.normalization)
        answers = OnnxRuntimeClassifier(model).logits(test.images)
        return compare_logits(answers, network).top1_agreement

    def key(self, name: str, seed: int, epochs: int | None) -> Key:
        """What a trial's row is of: see ``known``."""
        own_epochs = TRIALS[name][1]
        return self.of, name, seed, (epochs or own_epochs) if own_epochs else 0

    def run(self, name: str, seed: int, epochs: int | None) -> dict[str, Any]:
        """One trial."""
        settings, own_epochs, rate = TRIALS[name]
        training = {**self.defaults["training"], "seed": seed}
        if own_epochs:
            training["epochs"] = epochs or own_epochs
            training["optimizer"] = {**training["optimizer"], "learning_rate": rate}
        parameters = QuantizationParameters.model_validate(
            {**self.defaults, "quantization": settings, "training": training}
        )
        started = time.perf_counter()
        for state, _ in train_quantized(
            self.images["train"],
            self.images["validation"],
            self.normalization,
            self.teacher,
            self.source,
            {},
            self.answers,
            parameters,
            None,
        ):
            last = state
        seconds = time.perf_counter() - started
        model = export(last.best)
        correct = self.right(model)
        return {
            **dict(zip(COLUMNS[:4], self.key(name, seed, epochs), strict=True)),
            "accuracy": float(correct.mean()),
            "drop": self.accuracy - float(correct.mean()),
            "p_value": mcnemar_test(self.correct, correct).p_value,
            "agreement": self.agreement(last.best, model),
            "validation_accuracy": max(row["validation_accuracy"] for row in last.history),
            "file_bytes": model.size,
            "packed_bytes": packed_size(model.content),
            "seconds": round(seconds, 1),
        }


def table(rows: list[dict[str, str]], accuracy: float) -> str:
    """Markdown: a line a trial, mean and spread over its seeds."""
    lines = [
        "| trial | epochs | seeds | accuracy | points below float | smallest p | agreement | file "
        "| packed |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        f"| float | | | {accuracy:.2%} | | | | | |",
    ]
    for name in dict.fromkeys(row["trial"] for row in rows):
        own = [row for row in rows if row["trial"] == name]
        drops = [100 * float(row["drop"]) for row in own]
        spread = f" ± {statistics.stdev(drops):.2f}" if len(drops) > 1 else ""
        mean = statistics.mean(float(row["accuracy"]) for row in own)
        size, packed = (
            statistics.median(int(row[key]) for row in own) / 1000
            for key in ("file_bytes", "packed_bytes")
        )
        least = min(float(row["p_value"]) for row in own)
        # Rows from before it was measured have none.
        agreements = [float(row["agreement"]) for row in own if row.get("agreement")]
        cells = (
            name,
            own[0]["epochs"],
            len(own),
            f"{mean:.2%}",
            f"{statistics.mean(drops):.2f}{spread}",
            f"{least:.2g}",
            f"{min(agreements):.2%}" if agreements else "",
            f"{size:.1f} kB",
            f"{packed:.1f} kB",
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
