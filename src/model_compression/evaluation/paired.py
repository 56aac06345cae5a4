"""Whether two classifiers differ, judged on the same images (McNemar, 1947).

Knows which images each got right; nothing of the classifiers.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest


class PairedResult(NamedTuple):
    """Where two classifiers disagree in being right."""

    only_a: int
    """Images that only the first got right."""
    only_b: int
    """Images that only the second got right."""
    p_value: float
    """Probability of a split at least this uneven if both were equally good."""


def mcnemar_test(correct_a: NDArray[np.bool_], correct_b: NDArray[np.bool_]) -> PairedResult:
    """The exact, two-sided McNemar test: only_a ~ Binomial(only_a + only_b, 1/2).

    Args:
        correct_a: Whether the first classifier is right, image by image, shape (N,), bool.
        correct_b: The same of the second, on the same images in the same order.

    Returns:
        The counts and the p-value; 1 where the two are right on the same images.

    Raises:
        ValueError: If the two are not boolean arrays of the same length.
    """
    if correct_a.shape != correct_b.shape or correct_a.ndim != 1:
        raise ValueError(
            "Expected the results of both classifiers on the same images, shape (N,); "
            f"got {correct_a.shape} and {correct_b.shape}."
        )
    if correct_a.dtype != np.bool_ or correct_b.dtype != np.bool_:
        raise ValueError(
            "Expected boolean arrays that say which images are classified correctly; "
            f"got {correct_a.dtype} and {correct_b.dtype}. Compare the predictions to the labels."
        )
    only_a = int(np.count_nonzero(correct_a & ~correct_b))
    only_b = int(np.count_nonzero(correct_b & ~correct_a))
    differing = only_a + only_b
    p_value = float(binomtest(only_a, differing).pvalue) if differing else 1.0
    return PairedResult(only_a, only_b, p_value)
