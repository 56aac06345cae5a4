"""The interval in which a true accuracy, or the difference of two, lies.

Knows counts only; what was counted is its caller's business. Wilson: JASA 1927.
"""

import math
from statistics import NormalDist


def wilson_interval(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a proportion: (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n).

    Unlike p ± z √(p(1-p)/n) it stays within [0, 1] and has a width even where every trial succeeds.

    Args:
        successes: Between 0 and ``trials``.
        trials: At least 1.
        confidence: Probability that such an interval covers the true proportion; inside (0, 1).

    Returns:
        The interval's ends, as fractions.

    Raises:
        ValueError: If an argument is out of its range.
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(
            f"Expected 0 <= successes <= trials and trials >= 1; got {successes} of {trials}."
        )
    if not 0 < confidence < 1:
        raise ValueError(f"Expected a confidence inside (0, 1), such as 0.95; got {confidence}.")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    p = successes / trials
    centre = p + z * z / (2 * trials)
    half = z * math.sqrt(p * (1 - p) / trials + (z / (2 * trials)) ** 2)
    scale = 1 + z * z / trials
    # At 0 and at all successes an end is p itself; rounding must not push it past.
    return max(0.0, min((centre - half) / scale, p)), min(1.0, max((centre + half) / scale, p))


def difference_interval(
    successes: tuple[int, int], trials: tuple[int, int], confidence: float = 0.95
) -> tuple[float, float]:
    """Newcombe's interval for the difference of two independent proportions, first minus second.

    d - √((p₁-l₁)² + (u₂-p₂)²) and d + √((u₁-p₁)² + (p₂-l₂)²), l and u being the ends of the two
    Wilson intervals (Newcombe, Statistics in Medicine 1998, method 10).

    Args:
        successes: Of the first and of the second.
        trials: Of the first and of the second, at least 1 each.
        confidence: Probability that such an interval covers the true difference; inside (0, 1).

    Raises:
        ValueError: If an argument is out of its range.
    """
    (low_1, high_1), (low_2, high_2) = (
        wilson_interval(count, total, confidence)
        for count, total in zip(successes, trials, strict=True)
    )
    p_1, p_2 = (count / total for count, total in zip(successes, trials, strict=True))
    below = math.hypot(p_1 - low_1, high_2 - p_2)
    above = math.hypot(high_1 - p_1, p_2 - low_2)
    return p_1 - p_2 - below, p_1 - p_2 + above
