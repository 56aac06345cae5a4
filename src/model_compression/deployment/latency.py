"""How long an inference takes, measured so that files and runtimes can be compared.

Knows files, what loads them, and a clock. They take turns, so a machine that gets busy or warm
slows all of them down, not the last; and every round has an order of its own, so none of them
always finds the caches as the same other one has left them.
"""

import random
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from model_compression.deployment.onnx_model import OnnxModel
from model_compression.deployment.runtime import Classifier, OnnxRuntimeClassifier, check_images

Runtime = Callable[[OnnxModel, int], Classifier]
"""Loads a file; the number is the threads of an inference, 0 leaves the choice to the runtime."""

Run = Callable[[NDArray[np.uint8]], object]
Key = TypeVar("Key", bound=Hashable)

_LONG_ENOUGH_S = 0.005
"""A turn repeats its call until it lasts about this long, so the clock's noise vanishes."""


def measure_latency(
    models: Mapping[str, OnnxModel],
    images: NDArray[np.uint8],
    *,
    batch_sizes: Sequence[int] = (1, 64),
    repeats: int = 50,
    threads: int = 1,
    warmup: int = 10,
) -> pd.DataFrame:
    """Times every file in ONNX Runtime at every batch size, interleaved.

    Args:
        models: The deployables by stage.
        images: Bytes to classify, uint8, shape (N, C, H, W); repeated where a batch is larger.
        batch_sizes: Images per inference.
        repeats: Turns of each file.
        threads: Threads of an inference; 0 leaves the choice to ONNX Runtime.
        warmup: Untimed calls of each file before the first turn.

    Returns:
        The columns stage, batch_size, repeat (from 0) and latency_ms, the milliseconds of one
        inference on the whole batch: the mean over the calls of a turn.

    Raises:
        ValueError: If there is no file, no image, an image of the wrong kind, or a number below 1
            (``warmup`` and ``threads``: below 0).
    """
    return measure_runtimes(
        models,
        images,
        {"onnxruntime": OnnxRuntimeClassifier},
        batch_sizes=batch_sizes,
        repeats=repeats,
        threads=threads,
        warmup=warmup,
    ).drop(columns="runtime")


def measure_runtimes(
    models: Mapping[str, OnnxModel],
    images: NDArray[np.uint8],
    runtimes: Mapping[str, Runtime],
    *,
    batch_sizes: Sequence[int] = (1, 64),
    repeats: int = 50,
    threads: int = 1,
    warmup: int = 10,
) -> pd.DataFrame:
    """Times every file in every runtime at every batch size, interleaved.

    Every file has a turn in each runtime in every round, so all of them are paired by repeat.

    Args:
        models: The deployables by stage.
        images: Bytes to classify, uint8, shape (N, C, H, W); repeated where a batch is larger.
        runtimes: What loads a file, by the runtime's name.
        batch_sizes: Images per inference.
        repeats: Turns of each file in each runtime.
        threads: Threads of an inference; 0 leaves the choice to the runtime.
        warmup: Untimed calls of each file before the first turn.

    Returns:
        The columns stage, runtime, batch_size, repeat and latency_ms, as ``measure_latency`` has
        them.

    Raises:
        ValueError: If there is no file, no runtime, no image, an image of the wrong kind, or a
            number below 1 (``warmup`` and ``threads``: below 0).
    """
    if not runtimes:
        raise ValueError("Expected at least one runtime to time the files in; got none.")
    if not models or len(images) == 0:
        raise ValueError(
            f"Expected at least one file and one image; got {len(models)} and {len(images)}."
        )
    if min(*batch_sizes, repeats) < 1 or warmup < 0:
        raise ValueError(
            "Expected batch sizes and repeats of at least 1 and warmup of at least 0; "
            f"got {tuple(batch_sizes)}, {repeats} and {warmup}."
        )
    for model in models.values():
        check_images(model, images)
    classifiers = {
        (stage, runtime): load(model, threads)
        for stage, model in models.items()
        for runtime, load in runtimes.items()
    }
    runs = {key: classifier.run for key, classifier in classifiers.items()}
    rows = []
    for batch_size in batch_sizes:
        batch = np.ascontiguousarray(images[np.arange(batch_size) % len(images)])
        measured = {
            (key, repeat): milliseconds
            for key, repeat, milliseconds in time_by_turns(
                runs, batch, repeats=repeats, warmup=warmup
            )
        }
        # In the order of the files, whatever the order that a round had.
        rows += [
            (*key, batch_size, repeat, measured[key, repeat])
            for repeat in range(repeats)
            for key in runs
        ]
    return pd.DataFrame(rows, columns=["stage", "runtime", "batch_size", "repeat", "latency_ms"])


def time_by_turns(
    runs: Mapping[Key, Run], batch: NDArray[np.uint8], *, repeats: int, warmup: int
) -> Iterator[tuple[Key, int, float]]:
    """Times calls on one and the same batch, interleaved.

    A turn begins with a call that is not timed: the first one pays for what the turn before it has
    pushed out of the caches. Where one call is as long as a turn, that doubles the time it takes.
    The rounds' orders are drawn, the same ones every time.

    Args:
        runs: What is timed, by whatever names it.
        batch: Given to each of them, uint8, shape (N, C, H, W).
        repeats: Turns of each.
        warmup: Untimed calls of each before the first turn.

    Yields:
        The name, the turn (from 0) and the milliseconds of a call: the mean over a turn's calls.
    """
    calls = {key: _calls_per_turn(run, batch, warmup) for key, run in runs.items()}
    draw = random.Random(0)
    for repeat in range(repeats):
        for key in draw.sample(list(runs), len(runs)):
            runs[key](batch)
            yield key, repeat, _mean_seconds(runs[key], batch, calls[key]) * 1e3


def _calls_per_turn(run: Run, batch: NDArray[np.uint8], warmup: int) -> int:
    for _ in range(warmup):
        run(batch)
    return max(1, round(_LONG_ENOUGH_S / _mean_seconds(run, batch, 1)))


def _mean_seconds(run: Run, batch: NDArray[np.uint8], calls: int) -> float:
    begin = time.perf_counter()
    for _ in range(calls):
        run(batch)
    return (time.perf_counter() - begin) / calls
