"""The report's section on time: every turn drawn, and a table with intervals.

Knows the latency table; nothing of how it was measured.
"""

from collections.abc import Collection, Sequence
from typing import Any

import pandas as pd

from model_compression.reporting import units
from model_compression.reporting.figures import latency_distribution
from model_compression.reporting.readings import latency_of, reference_stage
from model_compression.reporting.sections import Cell, Chart, Gallery, Section, Table

BATCH_SIZES = (1, 64)


def timing_section(latency: pd.DataFrame, stages: Sequence[str]) -> Section:
    """How the times of each stage's file are distributed.

    Args:
        latency: Columns ``stage, batch_size, repeat, latency_ms``.
        stages: In their order.

    Raises:
        ValueError: If there is no stage, or the latency table lacks a column.
    """
    names = ", ".join(stages)
    return Section(
        "latency",
        "How long they take",
        "The files took turns, in an order of its own each round and after a call that is not "
        "counted, so that a machine that gets busy slows all of them down. A point is a turn, "
        "the mean of the inferences that fit into some 5 ms or of one that takes longer, and is "
        "drawn against its own stage's median, which is named at the left. Boxes go from "
        "quartile to quartile; whiskers end at the furthest turns within 1.5 box widths.",
        (
            Gallery(
                tuple(
                    Chart(
                        latency_distribution(latency, stages, size),
                        f"Times of {names} for {_images(size)}, turn by turn; numbers in the "
                        "table below.",
                    )
                    for size in BATCH_SIZES
                )
            ),
            _table(latency, stages),
        ),
    )


def median_interval(values: Collection[float]) -> tuple[float, float]:
    """The 95 % interval of the median, between two of the sorted values, whatever they are like.

    Between the k-th smallest and the k-th largest of n independent values lies the true median with
    the probability 1 - 2 P(Binomial(n, 1/2) < k), which the largest k brings to at least 95 %.

    Args:
        values: Of any number.

    Returns:
        The interval's ends; NaN where there are fewer than six values, which is too few.
    """
    # SciPy's statistics would take a tenth of the time until a run's first node.
    from scipy.stats import quantile_test  # noqa: PLC0415

    # The stubs of SciPy take it for a number.
    ends: Any = quantile_test(list(values), p=0.5).confidence_interval(0.95)
    return float(ends.low), float(ends.high)


def _table(latency: pd.DataFrame, stages: Sequence[str]) -> Table:
    reference = reference_stage(stages)
    rows = []
    for size in BATCH_SIZES:
        for stage in stages:
            times = latency_of(latency, stage, size).dropna()
            if len(times):
                before = latency_of(latency, reference, size)
                rows.append(_row(stage, size, times, None if stage == reference else before))
    return Table(
        head=(
            "Stage",
            "Median",
            "Middle half",
            "95% of turns under",
            "Slowest turn",
            "Images a second",
            f"Turn by turn against {reference}",
        ),
        rows=tuple(rows),
        caption=(
            f"{_turns(latency)} of each file. Below medians: their 95% interval, whatever the "
            "distribution, if turns are independent; it takes six of them. Images a second: at the "
            f"median. Against {reference}: the median of the ratios of the times in the same turn, "
            "with its interval, so it may differ a little from the ratio of the two medians."
        ),
        stacked=True,
    )


def _row(
    stage: str, size: int, times: "pd.Series[float]", before: "pd.Series[float] | None"
) -> tuple[Cell, ...]:
    low, high = median_interval(times)
    q25, median, q75, q95 = (float(times.quantile(at)) for at in (0.25, 0.5, 0.75, 0.95))
    slowest = float(times.max())
    # In one unit, so that a row can be read across.
    words = units.latencies([median, low, high, q25, q75, q95, slowest])
    return (
        Cell(stage, detail=_images(size), stage=stage),
        Cell(words[0], detail=_range(words[1], words[2])),
        Cell(_range(words[3], words[4])),
        Cell(words[5]),
        Cell(words[6]),
        Cell(units.quantity(1000 * size / median)),
        _pace(times, before),
    )


def _pace(times: "pd.Series[float]", before: "pd.Series[float] | None") -> Cell:
    if before is None:
        return Cell("reference")
    ratios = (before / times).dropna()
    if not len(ratios):
        return Cell(units.MISSING)
    detail = _range(*(units.times(end) for end in median_interval(ratios)))
    words = units.factor(float(ratios.median()), more="faster", less="slower", same="same speed")
    return Cell(words, detail=detail and f"speed {detail}")


def _range(low: str, high: str) -> str:
    """Two quantities as a range, the unit once."""
    if units.MISSING in (low, high):
        return ""
    number, _, unit = low.partition(units.SPACE)
    if unit and high.endswith(f"{units.SPACE}{unit}"):
        return f"{number}{units.RANGE}{high}"
    return f"{low.removesuffix(units.TIMES)}{units.RANGE}{high}"


def _images(size: int) -> str:
    return "1 image" if size == 1 else f"{size} images"


def _turns(latency: pd.DataFrame) -> str:
    turns = int(latency["repeat"].nunique()) if len(latency) else 0
    return "1 turn" if turns == 1 else f"{turns} turns"
