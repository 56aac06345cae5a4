"""Trainings that a test runs in one process, and in several through PyTorch's elastic launcher.

``python -m torch.distributed.run --nproc-per-node=2 shared_training.py <folder>`` runs each of
``CASES`` together and writes what every process got to ``<folder>/<case>-<rank>.pt``. With the word
``killed``, they train for ever, and write who they are to ``<folder>/pid-<rank>``.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from model_compression.evaluation import count_macs
from model_compression.images import Batch, ImageSet, Normalization
from model_compression.models import Checkpoint, ModelSpec, build_model
from model_compression.pruning import ChannelPruningSettings, Shrinking
from model_compression.quantization import QatSettings, calibrate, prepare_qat
from model_compression.training import (
    CrossEntropy,
    LossOutput,
    Objective,
    Trainee,
    TrainingDivergedError,
    TrainingSettings,
    TrainingState,
    current_team,
    fit,
    join,
    launched,
    share_with,
)

SPEC = ModelSpec(name="resnet8", options={"width": 4}, input_shape=(1, 12, 12), classes=3)
START = Checkpoint(
    spec=SPEC,
    weights={},
    stage="teacher",
    fingerprint="f",
    classes=("top", "middle", "bottom"),
    normalization=Normalization(mean=(0.4,), std=(0.25,)),
)


class InDouble(nn.Module):
    """A network in double precision, in which rounding leaves no doubt about a difference."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.double()

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images.double())


class WithHead(Objective):
    """Learns a normalised head of its own, and has a penalty that no image has a part in."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 3)).double()

    def forward(self, batch: Batch, model: nn.Module) -> LossOutput:
        logits = model(batch.images)
        loss = nn.functional.cross_entropy(self.head(logits), batch.labels)
        penalty = sum(weight.square().sum() for weight in model.parameters())
        return LossOutput(loss + 1e-3 * penalty, logits)


class Exploding(CrossEntropy):
    """Its loss is no number, but only for the images that the last process sees."""

    def forward(self, batch: Batch, model: nn.Module) -> LossOutput:
        loss, logits, _ = super().forward(batch, model)
        is_last = current_team().rank == current_team().size - 1
        return LossOutput(loss * (float("nan") if is_last else 1.0), logits)


def images() -> ImageSet:
    """96 noisy 12x12 images of three classes, as the fixture ``tiny_images``."""
    generator = np.random.default_rng(0)
    labels = np.arange(96, dtype=np.int64) % 3
    pixels = generator.integers(0, 120, (96, 1, 12, 12), dtype=np.uint8)
    for row, label in enumerate(labels):
        pixels[row, :, 4 * label : 4 * label + 4] += 120
    return ImageSet(pixels, labels, ("top", "middle", "bottom"), "tiny")


def in_double() -> Trainee:
    return Trainee(InDouble(build_model(SPEC)), WithHead())


def in_float() -> Trainee:
    return Trainee(build_model(SPEC), CrossEntropy())


def left_to_chance() -> Trainee:
    """Another network in each process: the first one's is taken."""
    torch.manual_seed(7 * current_team().rank)
    return in_double()


def on_a_grid() -> Trainee:
    model = prepare_qat(build_model(SPEC), SPEC.input_shape, QatSettings())
    calibrate(model, [torch.randn(16, *SPEC.input_shape)])
    return Trainee(model, CrossEntropy())


def exploding() -> Trainee:
    return Trainee(build_model(SPEC), Exploding())


def measured_by_the_first(network: nn.Module) -> float:
    """A latency, which no two processes would measure alike."""
    assert current_team().leads, "only the first process measures"
    return float(count_macs(network, SPEC.input_shape))


def shrinking() -> Shrinking:
    """Cut before the first and before the second epoch, until a latency is met."""
    torch.manual_seed(0)
    settings = ChannelPruningSettings.model_validate(
        {
            "method": "channels",
            "ratio": 0.5,
            "round_to": 1,
            "importance": "l2",
            "target": "latency",
            "schedule": {"name": "iterative", "steps": 3, "end": 0.9},
        }
    )
    return Shrinking(
        replace(START, weights=build_model(SPEC).state_dict()),
        settings,
        epochs=2,
        seed=0,
        objective_for=lambda network: CrossEntropy(),
        latency=measured_by_the_first,
    )


CASES: dict[str, tuple[Callable[[], Trainee | Shrinking], dict[str, Any]]] = {
    # Batches of 15 don't divide evenly, the last of the validation images neither.
    "double": (in_double, {"batch_size": 15, "ema_decay": 0.8, "gradient_clip": 0.5}),
    "chance": (left_to_chance, {"epochs": 1}),
    "float": (in_float, {"epochs": 1, "optimizer": {"name": "adamw", "learning_rate": 0.001}}),
    "bfloat16": (in_float, {"epochs": 1, "precision": "bfloat16"}),
    # So small steps that only what is observed moves: a grid makes leaps of what rounding leaves.
    "qat": (on_a_grid, {"epochs": 1, "optimizer": {"name": "sgd", "learning_rate": 1e-9}}),
    "shrinking": (shrinking, {"epochs": 2, "optimizer": {"name": "sgd", "learning_rate": 1e-4}}),
    "diverged": (exploding, {"epochs": 1}),
}


def train(
    case: str,
    resume: TrainingState | None = None,
    epochs: int | None = None,
    changes: dict[str, Any] | None = None,
) -> Any:
    """The case's last state, or the message of its error."""
    make, fixed = CASES[case]
    values = {
        "epochs": 3,
        "batch_size": 16,
        "optimizer": {"name": "sgd", "learning_rate": 0.02},
        "precision": "float32",
    }
    settings = TrainingSettings.model_validate(values | fixed | (changes or {}))
    fitted = None
    if make is shrinking:
        network = shrinking()
        prepare, fitted = network.begin, network.fitted
    else:

        def prepare() -> Trainee:
            torch.manual_seed(0)
            return make()

    last = None
    try:
        for state in fit(prepare, START, images(), images(), settings, resume, fitted):
            last = state
            if state.epoch == epochs:
                break
    except TrainingDivergedError as error:
        return str(error)
    return last


def main(folder: Path, is_killed: bool) -> None:
    place = launched()
    assert place is not None
    team = join(place)
    share_with(team)
    if is_killed:
        (folder / f"pid-{team.rank}.new").write_text(str(os.getpid()))
        (folder / f"pid-{team.rank}.new").rename(folder / f"pid-{team.rank}")
        train("float", changes={"epochs": 100_000})
    for case in CASES:
        torch.save(train(case), folder / f"{case}-{team.rank}.pt")
    team.leave()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), is_killed="killed" in sys.argv[2:])
