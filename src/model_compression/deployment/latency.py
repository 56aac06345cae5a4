"""How long an inference takes, measured so that the files can be compared.

Knows files and a clock. The files take turns (A B C D, A B C D, ...), so a machine that gets busy
or warm slows all of them down, not the last.
"""

import time
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from model_compression.deployment.onnx_model import OnnxModel
from model_compression.deployment.runtime import OnnxRuntimeClassifier, check_images

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
    """Times every file at every batch size, interleaved.

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
        stage: OnnxRuntimeClassifier(model, threads=threads) for stage, model in models.items()
    }
    rows = []
    for batch_size in batch_sizes:
        batch = np.ascontiguousarray(images[np.arange(batch_size) % len(images)])
        calls = {stage: _calls_per_turn(each, batch, warmup) for stage, each in classifiers.items()}
        for repeat in range(repeats):
            for stage, classifier in classifiers.items():
                seconds = _mean_seconds(classifier, batch, calls[stage])
                rows.append((stage, batch_size, repeat, seconds * 1e3))
    return pd.DataFrame(rows, columns=["stage", "batch_size", "repeat", "latency_ms"])


def _calls_per_turn(
    classifier: OnnxRuntimeClassifier, batch: NDArray[np.uint8], warmup: int
) -> int:
    for _ in range(warmup):
        classifier.run(batch)
    return max(1, round(_LONG_ENOUGH_S / _mean_seconds(classifier, batch, 1)))


def _mean_seconds(classifier: OnnxRuntimeClassifier, batch: NDArray[np.uint8], calls: int) -> float:
    begin = time.perf_counter()
    for _ in range(calls):
        classifier.run(batch)
    return (time.perf_counter() - begin) / calls
