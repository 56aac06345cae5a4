"""What training costs as the work grows: seconds an epoch, and memory.

Along three axes, one at a time: images (1, 2, 4, 8 times), classes (10, 100, 1000), and parameters
(10^4 to 10^7, by a network's width). Each point is trained by the product's own loop in a process
of its own, on noise that is stored and read as the pipelines do it; the first epoch is not counted.
Memory is the resident memory at its peak, mapped images among it, and what of it was there before
anything was read or built. The slope is that of the least-squares line through the logarithms: 1 is
linear growth, less is less.

    python benchmarks/growth.py
    python benchmarks/growth.py --axes=images --unit=1000
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model_compression.images import (
    AugmentationParameters,
    ImageSet,
    compute_normalization,
    read_image_set,
    write_image_set,
)
from model_compression.models import ModelSettings, build_model
from model_compression.parameters import Parameters
from model_compression.pipelines.stage.nodes import new_checkpoint
from model_compression.training import (
    CrossEntropy,
    Trainee,
    TrainingSettings,
    fit,
    write_training_state,
)
from results import FOLDER, keep, spread, surroundings

VALIDATION = 100
KIB_A_MIB = 1024
FEWER = 10
"""By how much fewer images the networks of growing width are trained on: the widest is slow."""


class Point(Parameters):
    """What is trained at one point."""

    axis: str
    size: int
    """Along the axis."""
    images: int
    classes: int = 10
    batch: int = 128
    model: ModelSettings = ModelSettings(name="net")


def points(unit: int) -> list[Point]:
    """All of them; ``unit`` images are the fewest along the axis of images."""
    images = [
        Point(axis="images", size=unit * times, images=unit * times) for times in (1, 2, 4, 8)
    ]
    classes = [
        Point(axis="classes", size=count, images=unit, classes=count) for count in (10, 100, 1000)
    ]
    parameters = [
        Point(
            axis="parameters",
            size=10**power,
            images=max(unit // FEWER, 1),
            batch=64,
            # A width w has about 305 w² parameters.
            model=ModelSettings(
                name="resnet8",
                options={"width": round(math.sqrt(10**power / 305)), "stem_stride": 2},
            ),
        )
        for power in (4, 5, 6, 7)
    ]
    return [*images, *classes, *parameters]


def measure(point: Point, epochs: int) -> dict[str, Any]:
    """Trains it here, and tells the seconds of each counted epoch, and the memory in MiB."""
    before = _memory("VmRSS")
    with tempfile.TemporaryDirectory() as folder:
        train = _noise(point.images, point.classes, Path(folder) / "train")
        validation = _noise(VALIDATION, point.classes, Path(folder) / "validation")
        normalization = compute_normalization(train)
        spec = point.model.spec(train.image_shape, point.classes)
        settings = TrainingSettings(
            epochs=epochs + 1,
            batch_size=point.batch,
            optimizer={"name": "sgd", "learning_rate": 0.001},
            augmentation=AugmentationParameters(crop_padding=1),
            # One way for all, so that it is the work alone that grows.
            precision="float32",
            channels_last=True,
            compile=False,
            threads=torch.get_num_threads(),
        )
        start = new_checkpoint("growth", spec, point, train, validation, normalization)

        def prepare() -> Trainee:
            torch.manual_seed(0)
            return Trainee(build_model(spec), CrossEntropy())

        for state in fit(prepare, start, train, validation, settings):
            write_training_state(state, Path(folder) / "state.safetensors")
        return {
            "parameters": sum(weight.numel() for weight in build_model(spec).parameters()),
            "seconds": [row["seconds"] for row in state.history[1:]],
            "before": before,
            "peak": _memory("VmHWM"),
        }


def slope(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Of the least-squares line of log cost over log size.

    Raises:
        ValueError: If there are fewer than two sizes.
    """
    if len(set(sizes)) < 2:
        raise ValueError(f"A slope needs two sizes at least; got {sorted(set(sizes))}.")
    x, y = np.log(np.asarray(sizes)), np.log(np.asarray(costs))
    x = x - x.mean()
    return float((x * (y - y.mean())).sum() / (x * x).sum())


def _noise(count: int, classes: int, folder: Path) -> ImageSet:
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (count, 1, 28, 28), dtype=np.uint8)
    names = tuple(f"{number:04}" for number in range(classes))
    write_image_set(ImageSet(pixels, np.arange(count) % classes, names, f"noise {count}"), folder)
    return read_image_set(folder)


def _memory(field: str) -> float:
    """MiB, as Linux keeps them for this process; its peak as others tell it counts the parent's."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / KIB_A_MIB
    raise ValueError(f"/proc/self/status has no {field}: this benchmark needs Linux")


def _in_a_process(point: Point, epochs: int) -> dict[str, Any]:
    command = [sys.executable, __file__, f"--one={point.model_dump_json()}", f"--epochs={epochs}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{point.axis} {point.size} failed:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    """Measures point by point, prints the tables and the slopes, and keeps them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--axes", default="images,classes,parameters")
    parser.add_argument("--unit", type=int, default=8000, help="the fewest images of their axis")
    parser.add_argument("--epochs", type=int, default=3, help="that are counted, at each point")
    parser.add_argument("--table", type=Path, default=FOLDER / "growth.csv")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(Point.model_validate_json(given.one), given.epochs)))
        return
    axes = given.axes.split(",")
    known = list(dict.fromkeys(point.axis for point in points(given.unit)))
    if not set(axes) <= set(known):
        parser.error(f"--axes: expected some of {', '.join(known)}, with commas; got {given.axes}")
    for axis in known:
        if axis in axes:
            _axis([point for point in points(given.unit) if point.axis == axis], given)


def _axis(along: list[Point], given: argparse.Namespace) -> None:
    print(f"\n| {along[0].axis} | s an epoch | peak MiB | before MiB |\n| --- | --- | --- | --- |")
    measured = []
    for point in along:
        measured.append(_in_a_process(point, given.epochs))
        seconds = statistics.median(measured[-1]["seconds"])
        memory = f"{measured[-1]['peak']:.0f} | {measured[-1]['before']:.0f}"
        print(f"| {point.size} | {seconds:.3f} | {memory} |", flush=True)
    parameters = [one["parameters"] for one in measured]
    by_width = along[0].axis == "parameters"
    sizes = parameters if by_width else [point.size for point in along]
    time_slope = slope(sizes, [statistics.median(one["seconds"]) for one in measured])
    memory_slope = slope(sizes, [one["peak"] - one["before"] for one in measured])
    print(
        f"slope of the time {time_slope:.2f}, of the memory beyond that before {memory_slope:.2f}"
    )
    rows = [
        {
            "axis": point.axis,
            "size": size,
            "model": point.model.name,
            "options": json.dumps(point.model.options),
            "parameters": one["parameters"],
            "images": point.images,
            "classes": point.classes,
            "batch": point.batch,
            "epochs": given.epochs,
            **spread("seconds", one["seconds"]),
            "peak_mib": round(one["peak"], 1),
            "before_mib": round(one["before"], 1),
            "time_slope": round(time_slope, 3),
            "memory_slope": round(memory_slope, 3),
            **surroundings(),
        }
        for point, size, one in zip(along, sizes, measured, strict=True)
    ]
    keep(given.table, rows, ["axis", "size"])


if __name__ == "__main__":
    main()
