"""Two processes of one thread against one process of two, on this machine.

    torchrun --nproc-per-node=2 benchmarks/several_processes.py

Rounds are interleaved: in each, both processes train some steps together, one thread each, and then
the first trains the same steps alone with as many threads while the others sleep. Prints medians of
the ratio of the two in the same round, which a machine that is busy with something else disturbs
less than it does the milliseconds.
"""

import argparse
import statistics

import numpy as np
import torch

from model_compression.images import ImageSet, Normalization
from model_compression.models import Checkpoint, ModelSpec, build_model
from model_compression.training import (
    ALONE,
    CrossEntropy,
    Trainee,
    TrainingSettings,
    fit,
    join,
    launched,
    share_with,
)

BATCH = 128
NORMALIZATION = Normalization(mean=(0.5,), std=(0.25,))


def images(count: int) -> ImageSet:
    """Noise: what is in a picture costs nothing."""
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (count, 1, 28, 28), dtype=np.uint8)
    return ImageSet(pixels, np.arange(count) % 10, tuple("0123456789"), "noise")


def milliseconds_a_step(name: str, steps: int) -> float:
    """Of the second epoch; the first is for the libraries to find out what they are asked."""
    spec = ModelSpec(name=name, input_shape=(1, 28, 28), classes=10)
    settings = TrainingSettings.model_validate(
        {
            "epochs": 2,
            "batch_size": BATCH,
            "optimizer": {"name": "sgd", "learning_rate": 0.01},
            "augmentation": None,
            "precision": "float32",
        }
    )
    start = Checkpoint(
        spec=spec,
        weights={},
        stage="benchmark",
        fingerprint="",
        classes=tuple("0123456789"),
        normalization=NORMALIZATION,
    )
    few = images(10)
    *_, last = fit(
        lambda: Trainee(build_model(spec), CrossEntropy()),
        start,
        images(steps * BATCH),
        few,
        settings,
    )
    return 1000 * last.history[-1]["seconds"] / steps


def main() -> None:
    """Measures and prints a row a model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10)
    given = parser.parse_args()
    place = launched()
    if place is None:
        parser.error("start it by torchrun --nproc-per-node=2")
    team = join(place)
    if team.leads:
        print("| model | together, ms a step | alone, ms a step | alone / together |")
    for name in ("resnet20", "net"):
        together, alone = [], []
        for _ in range(given.rounds):
            torch.set_num_threads(1)
            share_with(team)
            together.append(milliseconds_a_step(name, given.steps))
            share_with(ALONE)
            with team.leader_first():
                if team.leads:
                    torch.set_num_threads(team.size)
                    alone.append(milliseconds_a_step(name, given.steps))
        if team.leads:
            ratios = [one / two for one, two in zip(alone, together, strict=True)]
            print(
                f"| {name} | {statistics.median(together):.1f} | {statistics.median(alone):.1f} | "
                f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) |",
                flush=True,
            )
    team.leave()


if __name__ == "__main__":
    main()
