"""Whether two classifiers differ, and by how much, judged on the same images (McNemar, 1947).

Knows which images each got right; nothing of the classifiers.
"""

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


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
    # SciPy's statistics would take a tenth of the time until a run's first node.
    from scipy.stats import binomtest  # noqa: PLC0415

    only_a = int(np.count_nonzero(correct_a & ~correct_b))
    only_b = int(np.count_nonzero(correct_b & ~correct_a))
    differing = only_a + only_b
    p_value = float(binomtest(only_a, differing).pvalue) if differing else 1.0
    return PairedResult(only_a, only_b, p_value)


def paired_interval(
    only_a: int, only_b: int, images: int, confidence: float = 0.95
) -> tuple[float, float]:
    """The interval of the second classifier's accuracy minus the first's (Agresti & Min, 2005).

    Wald's interval after half an image was added to each of the four counts that there are (both
    right, one, the other, none): with b = only_a + 1/2, c = only_b + 1/2 and n = images + 2,
    (c - b) / n ± z √(b + c - (c - b)² / n) / n. Unlike Wald's own it has a width where the two are
    right on the same images, and covers what it promises where they hardly differ.

    Args:
        only_a: Images that only the first got right.
        only_b: Images that only the second got right.
        images: All images that both were asked about, at least 1.
        confidence: Probability that such an interval covers the true difference; inside (0, 1).

    Returns:
        The interval's ends, as fractions of all images, within [-1, 1].

    Raises:
        ValueError: If an argument is out of its range.
    """
    if images < 1 or min(only_a, only_b) < 0 or only_a + only_b > images:
        raise ValueError(
            "Expected counts of at least 0 that add up to no more than the images, at least 1; "
            f"got {only_a} and {only_b} of {images}."
        )
    if not 0 < confidence < 1:
        raise ValueError(f"Expected a confidence inside (0, 1), such as 0.95; got {confidence}.")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    b, c, n = only_a + 0.5, only_b + 0.5, images + 2
    middle = (c - b) / n
    half = z * math.sqrt(b + c - (c - b) ** 2 / n) / n
    return max(-1.0, middle - half), min(1.0, middle + half)
