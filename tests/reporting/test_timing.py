import math

import numpy as np
import pandas as pd
import pytest

from model_compression.reporting.timing import median_interval, timing_section
from model_compression.reporting.units import SPACE


def table_of(latency, stages):
    section = timing_section(latency, stages)
    return section.blocks[1]


def plain(row):
    return [(cell.text.replace(SPACE, " "), cell.detail.replace(SPACE, " ")) for cell in row]


def turns(**by_stage):
    rows = [
        (stage, 1, repeat, milliseconds)
        for stage, times in by_stage.items()
        for repeat, milliseconds in enumerate(times)
    ]
    return pd.DataFrame(rows, columns=["stage", "batch_size", "repeat", "latency_ms"])


def test_a_row_says_median_interval_spread_tail_and_throughput():
    times = [2.0 + 0.1 * turn for turn in range(10)] + [20.0]
    table = table_of(turns(teacher=times), ["teacher"])
    (row,) = map(plain, table.rows)
    low, high = median_interval(times)
    assert row == [
        ("teacher", "1 image"),
        ("2.50 ms", f"{low:.2f}\u2013{high:.2f} ms"),
        ("2.25\u20132.75 ms", ""),
        (f"{np.quantile(times, 0.95):.1f} ms", ""),
        ("20.0 ms", ""),
        ("400", ""),
        ("reference", ""),
    ]


def test_stages_are_compared_within_turns(sample):
    """A machine that doubles its time half way through changes no ratio."""
    slow_half = np.where(np.arange(20) < 10, 1.0, 2.0)
    latency = turns(teacher=4 * slow_half, student=1 * slow_half)
    student = plain(table_of(latency, ["teacher", "student"]).rows[1])
    assert student[-1] == ("4.00\u00d7 faster", "speed 4.00\u20134.00\u00d7")


def test_too_few_turns_have_no_interval():
    table = table_of(
        turns(teacher=[1.0, 1.1, 1.2], student=[0.5, 0.5, 0.5]), ["teacher", "student"]
    )
    assert all(cell.detail == "" for row in table.rows for cell in row[1:])
    assert table.caption.startswith("3 turns of each file.")


def test_both_batch_sizes_are_drawn_and_listed(run):
    section = timing_section(run.latency, list(run.evaluations))
    assert len(section.blocks[0].charts) == 2
    assert [(row[0].text, row[0].detail) for row in section.blocks[1].rows] == [
        (stage, size) for size in ("1 image", "64 images") for stage in run.evaluations
    ]


def test_a_stage_that_was_not_timed_has_no_row(run):
    latency = run.latency[run.latency["stage"] != "student"]
    names = [row[0].text for row in table_of(latency, list(run.evaluations)).rows]
    assert "student" not in names
    assert len(names) == 6


def test_a_teacher_that_was_not_timed_leaves_the_pace_open():
    (row,) = map(plain, table_of(turns(student=[1.0] * 8), ["teacher", "student"]).rows)
    assert row[-1] == ("\u2014", "")


def test_a_table_of_something_else_is_refused():
    with pytest.raises(ValueError, match="latency table lacks the columns"):
        timing_section(pd.DataFrame({"stage": ["teacher"]}), ["teacher"])


@pytest.mark.parametrize(("n", "k"), [(6, 1), (9, 2), (30, 10), (50, 18)])
def test_the_medians_interval_is_that_of_the_binomial_tail(n, k):
    values = np.random.default_rng(0).permutation(n) + 1.0
    assert median_interval(values) == (k, n + 1 - k)
    tail = [sum(math.comb(n, j) for j in range(wanted)) / 2**n for wanted in (k, k + 1)]
    assert 2 * tail[0] <= 0.05 < 2 * tail[1]


def test_five_values_are_too_few_for_an_interval():
    assert all(math.isnan(end) for end in median_interval([1.0, 2.0, 3.0, 4.0, 5.0]))
