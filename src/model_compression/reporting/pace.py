"""How fast one thing is against another that was timed by turns with it.

Knows latency tables; what follows from a pace is the verdict's and the recommendation's business.
"""

import math
from dataclasses import dataclass

import pandas as pd

from model_compression.reporting import units
from model_compression.reporting.readings import latency_of, median_latency, ratio

AS_FAST = "as fast"


@dataclass(frozen=True)
class Pace:
    """A stage's speed against another's."""

    gain: float
    """The other's median over the stage's: above 1 where the stage is faster."""
    change: str
    """The gain in words, such as ``1.70x slower``, or ``as fast``."""
    evidence: str
    """The two medians in words."""

    @property
    def faster(self) -> bool:
        """Whether it is faster by more than the measurement's spread."""
        return self.gain > 1 and self.change != AS_FAST

    @property
    def slower(self) -> bool:
        """Whether it is slower by more than the measurement's spread."""
        return self.gain < 1 and self.change != AS_FAST


def pace(latency: pd.DataFrame, before: str, stage: str, batch_size: int) -> Pace | None:
    """How fast a stage is against another; None where one of them was not measured.

    The repeats are interleaved, so the two are paired by repeat: they count as equally fast where
    the quartiles of the paired ratios have 1 between them.

    Args:
        latency: Columns ``stage, batch_size, repeat, latency_ms``.
        before: The stage to compare with.
        stage: The stage that is judged.
        batch_size: Images per inference.

    Raises:
        ValueError: If the latency table lacks a column.
    """
    was, now = (median_latency(latency, name, batch_size) for name in (before, stage))
    gain = ratio(was, now)
    if math.isnan(gain):
        return None
    paired = latency_of(latency, before, batch_size) / latency_of(latency, stage, batch_size)
    low, high = paired.dropna().quantile([0.25, 0.75])
    now_text, was_text = units.latencies([now, was])
    if low <= 1 <= high:
        evidence = f"{now_text} and {was_text}, the same within the measurement's spread"
        return Pace(gain, AS_FAST, evidence)
    change = units.factor(gain, more="faster", less="slower", same=AS_FAST)
    return Pace(gain, change, f"{now_text} instead of {was_text}")
