"""Whether a network is as sure as it is right: reliability and the expected calibration error.

Knows probabilities and labels; where they come from is its caller's business.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from model_compression.evaluation.intervals import wilson_interval

BINS = 15


def softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """exp(z_k) / Σ_j exp(z_j) for each row, computed without overflow.

    Args:
        logits: Finite, shape (N, K).

    Returns:
        Probabilities, shape (N, K); each row adds up to 1.
    """
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    powers = np.exp(shifted)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def expected_calibration_error(
    probabilities: NDArray[np.floating], labels: NDArray[np.integer], bins: int = BINS
) -> float:
    """Σ_b (n_b / N) |accuracy_b - confidence_b| over equal bins of confidence (Guo et al., 2017).

    Bin b holds the images whose largest probability is in ((b-1)/bins, b/bins].

    Args:
        probabilities: Rows that add up to 1, shape (N, K).
        labels: Shape (N,), from 0 to K-1.
        bins: Number of bins, at least 1.

    Returns:
        Between 0 (as sure as right) and 1.

    Raises:
        ValueError: If there are no images or the shapes don't fit.
    """
    if probabilities.ndim != 2 or len(probabilities) == 0 or labels.shape != (len(probabilities),):
        raise ValueError(
            "Expected probabilities (N, K) and labels (N,) with N >= 1; "
            f"got {probabilities.shape} and {labels.shape}."
        )
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    gaps = np.bincount(_bin_of(confidence, bins), weights=correct - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def reliability_table(
    confidence: NDArray[np.floating], correct: NDArray[np.bool_], bins: int = BINS
) -> pd.DataFrame:
    """What a reliability diagram shows: how often a network is right when it is so sure.

    The bins are those of ``expected_calibration_error``, which is the mean of
    |accuracy - confidence| over this table's rows, weighted by images.

    Args:
        confidence: The largest probability of each image, shape (N,).
        correct: Whether the network is right, shape (N,), bool.
        bins: Number of bins, at least 1.

    Returns:
        A row a bin: ``low``, ``high`` (its ends), ``images``, the means ``confidence`` and
        ``accuracy`` of its images, and ``accuracy_low``, ``accuracy_high``, the ends of the
        accuracy's 95 % Wilson interval. What an empty bin has no value for is NaN.

    Raises:
        ValueError: If there are no images, the shapes don't fit or there is no bin.
    """
    if confidence.ndim != 1 or len(confidence) == 0 or correct.shape != confidence.shape:
        raise ValueError(
            "Expected the confidence in each of N >= 1 images and whether it is right, both "
            f"(N,); got {confidence.shape} and {correct.shape}."
        )
    bin_of = _bin_of(confidence, bins)
    images = np.bincount(bin_of, minlength=bins)
    right = np.bincount(bin_of, weights=correct, minlength=bins)
    sure = np.bincount(bin_of, weights=confidence, minlength=bins)
    ends = [
        wilson_interval(int(hits), int(count)) if count else (np.nan, np.nan)
        for hits, count in zip(right, images, strict=True)
    ]
    edges = np.arange(bins + 1) / bins
    some = np.where(images > 0, images, np.nan)
    return pd.DataFrame(
        {
            "low": edges[:-1],
            "high": edges[1:],
            "images": images,
            "confidence": sure / some,
            "accuracy": right / some,
            "accuracy_low": [low for low, _ in ends],
            "accuracy_high": [high for _, high in ends],
        }
    )


def _bin_of(confidence: NDArray[np.floating], bins: int) -> NDArray[np.int64]:
    if bins < 1:
        raise ValueError(f"Expected at least 1 bin; got {bins}.")
    upper = np.ceil(confidence * bins).astype(np.int64) - 1
    return np.asarray(np.clip(upper, 0, bins - 1))
