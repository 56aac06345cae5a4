"""Whether a network is as sure as it is right: the expected calibration error.

Knows probabilities and labels; where they come from is its caller's business.
"""

import numpy as np
from numpy.typing import NDArray


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
    probabilities: NDArray[np.floating], labels: NDArray[np.integer], bins: int = 15
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
    if bins < 1:
        raise ValueError(f"Expected at least 1 bin; got {bins}.")
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    bin_of = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    gaps = np.bincount(bin_of, weights=correct - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))
