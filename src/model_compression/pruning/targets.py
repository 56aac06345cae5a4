"""Finds the share of channels whose removal meets a target of another kind.

Knows a function of one number.
"""

import math
from collections.abc import Callable


def search(removed: Callable[[float], float], wanted: float, *, steps: int) -> float:
    """The share in [0, 1] whose removal takes away nearest to ``wanted``, by bisection.

    ``removed`` should not fall as the share grows. Where it is noisy (a measured time) or stands
    still for a while (numbers of channels are rounded), the best of all that was tried is given
    back, not the last; of equally good shares the smallest.

    Args:
        removed: What a share of the channels takes away, as a share of what there was.
        wanted: In (0, 1).
        steps: How often the interval is halved; so many times ``removed`` is called.
    """
    low, high = 0.0, 1.0
    best, best_error = 1.0, math.inf
    for _ in range(steps):
        share = (low + high) / 2
        taken = removed(share)
        error = abs(taken - wanted)
        if error < best_error or (error == best_error and share < best):
            best, best_error = share, error
        low, high = (share, high) if taken < wanted else (low, share)
    return best
