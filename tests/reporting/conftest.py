"""A realistic run: four stages, ten classes, numbers of the size that Fashion-MNIST gives."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
STAGES = ("teacher", "student", "pruned", "quantized")


def make_confusion(recalls: list[float], seed: int) -> pd.DataFrame:
    """Counts whose errors fall mostly among the garments that look alike."""
    random = np.random.default_rng(seed)
    alike = np.full((10, 10), 0.02)
    for group in ((0, 2, 3, 4, 6), (5, 7, 9)):
        alike[np.ix_(group, group)] = 1.0
    np.fill_diagonal(alike, 0)
    counts = np.zeros((10, 10), dtype=np.int64)
    for row, recall in enumerate(recalls):
        right = round(1000 * recall)
        counts[row] = random.multinomial(1000 - right, alike[row] / alike[row].sum())
        counts[row, row] = right
    return pd.DataFrame(counts, index=list(CLASSES), columns=list(CLASSES))


def make_evaluation(stage: str, confusion: pd.DataFrame, **values: Any) -> dict[str, Any]:
    accuracy = float(np.trace(confusion.to_numpy()) / confusion.to_numpy().sum())
    spread = 1.96 * (accuracy * (1 - accuracy) / 10_000) ** 0.5
    return {
        "stage": stage,
        "fingerprint": f"{stage:0<8}{'9f3c21d07a5e4b68c1d2e3f4':.24}"[:32],
        "images": 10_000,
        "accuracy": accuracy,
        "accuracy_low": accuracy - spread,
        "accuracy_high": accuracy + spread,
        "macro_f1": accuracy - 0.0007,
        "ece": 0.021,
        "log_loss": 0.243,
        "top1_agreement": 1.0,
        "max_logit_difference": 3.1e-6,
        "quantizable_layers": 0,
        "fused_layers": 0,
        "runtime": "onnxruntime 1.32.0",
        **values,
    }


def make_history(epochs: int, best: float, start: float = 0.7) -> list[dict[str, float]]:
    shape = 1 - np.exp(-np.arange(1, epochs + 1) / max(1, epochs / 5))
    wiggle = 0.004 * np.sin(np.arange(epochs) * 2.1) * np.linspace(1, 0.2, epochs)
    validation = start + (best - start) * shape / shape[-1] + wiggle
    train = validation + 0.02 * shape - 0.012
    return [
        {
            "epoch": epoch + 1,
            "learning_rate": 0.1,
            "train_loss": float(2 * (1 - train[epoch])),
            "train_accuracy": float(train[epoch]),
            "validation_loss": float(2.6 * (1 - validation[epoch]) + 0.05),
            "validation_accuracy": float(validation[epoch]),
            "seconds": 21.0,
        }
        for epoch in range(epochs)
    ]


def make_latency(medians: dict[tuple[str, int], float], repeats: int = 30) -> pd.DataFrame:
    """Skewed times around a median; a repeat shares its noise among the stages."""
    random = np.random.default_rng(0)
    noise = 1 + 0.04 * random.standard_gamma(1.0, repeats)
    rows = [
        (stage, batch_size, repeat, median * noise[repeat] * random.uniform(0.99, 1.01))
        for (stage, batch_size), median in medians.items()
        for repeat in range(repeats)
    ]
    return pd.DataFrame(rows, columns=["stage", "batch_size", "repeat", "latency_ms"])


def make_run() -> SimpleNamespace:
    """Everything that a report takes, fresh, so that a test may change it."""
    recalls = {
        "teacher": [0.90, 0.99, 0.92, 0.94, 0.92, 0.99, 0.83, 0.98, 0.99, 0.97],
        "student": [0.88, 0.99, 0.89, 0.93, 0.90, 0.98, 0.78, 0.97, 0.99, 0.96],
        "pruned": [0.87, 0.98, 0.88, 0.92, 0.90, 0.98, 0.76, 0.97, 0.98, 0.96],
        "quantized": [0.87, 0.98, 0.88, 0.92, 0.89, 0.98, 0.76, 0.97, 0.98, 0.96],
    }
    confusions = {
        stage: make_confusion(values, seed) for seed, (stage, values) in enumerate(recalls.items())
    }
    values: dict[str, dict[str, Any]] = {
        "teacher": {
            "architecture": "resnet20",
            "parameters": 271_824,
            "nonzero_parameters": 271_820,
            "macs": 31_060_000,
            "file_bytes": 1_102_340,
            "packed_bytes": 1_011_200,
            "training_seconds": 1480.0,
            "epochs": 40,
        },
        "student": {
            "architecture": "resnet8",
            "parameters": 77_850,
            "nonzero_parameters": 77_850,
            "macs": 9_640_000,
            "file_bytes": 316_920,
            "packed_bytes": 290_400,
            "training_seconds": 742.0,
            "epochs": 40,
            "paired": {
                "only_teacher": 312,
                "only_stage": 152,
                "p_value": 9.1e-14,
                "difference_low": -0.0202,
                "difference_high": -0.0118,
            },
        },
        "pruned": {
            "architecture": "resnet8",
            "parameters": 40_130,
            "nonzero_parameters": 40_130,
            "macs": 4_870_000,
            "file_bytes": 165_810,
            "packed_bytes": 150_020,
            "training_seconds": 301.0,
            "epochs": 20,
            "paired": {
                "only_teacher": 371,
                "only_stage": 144,
                "p_value": 3.2e-24,
                "difference_low": -0.0271,
                "difference_high": -0.0183,
            },
        },
        "quantized": {
            "architecture": "resnet8",
            "parameters": 40_130,
            "nonzero_parameters": 39_712,
            "macs": 4_870_000,
            "file_bytes": 46_720,
            "packed_bytes": 36_980,
            "training_seconds": 118.0,
            "epochs": 5,
            "quantizable_layers": 10,
            "fused_layers": 10,
            "top1_agreement": 0.9991,
            "max_logit_difference": 0.19,
            "paired": {
                "only_teacher": 380,
                "only_stage": 143,
                "p_value": 1.0e-25,
                "difference_low": -0.0282,
                "difference_high": -0.0192,
            },
        },
    }
    medians = dict(
        zip(
            [(stage, batch_size) for stage in STAGES for batch_size in (1, 64)],
            [0.612, 24.9, 0.214, 6.84, 0.151, 4.02, 0.083, 2.11],
            strict=True,
        )
    )
    return SimpleNamespace(
        evaluations={
            stage: make_evaluation(stage, confusions[stage], **values[stage]) for stage in STAGES
        },
        histories={
            "teacher": make_history(40, 0.945),
            "student": make_history(40, 0.928),
            "pruned": make_history(20, 0.922, start=0.85),
            "quantized": make_history(5, 0.921, start=0.905),
        },
        latency=make_latency(medians),
        confusions=confusions,
        provenance={
            "command": "make compress",
            "data": "Fashion-MNIST",
            "created": "2026-11-23",
            "code": "3f1c2ab",
            "processor": "2 cores, x86-64 with AVX-512 VNNI",
            "threads": 1,
            "versions": {
                "model-compression": "0.1.0",
                "torch": "2.13.0",
                "onnxruntime": "1.32.0",
                "kedro": "1.7.0",
            },
            "fingerprints": {
                "test images": "b8c0a1f2e3d4c5b6a7980f1e2d3c4b5a",
                "quantized": "5a4b3c2d1e0f9807a6b5c4d3e2f1a0c8",
            },
        },
    )


@pytest.fixture(scope="session")
def sample() -> SimpleNamespace:
    """The makers of sample results, for tests that need others than a run's."""
    return SimpleNamespace(
        classes=CLASSES,
        stages=STAGES,
        confusion=make_confusion,
        history=make_history,
        latency=make_latency,
        run=make_run,
    )


@pytest.fixture
def run() -> SimpleNamespace:
    return make_run()
