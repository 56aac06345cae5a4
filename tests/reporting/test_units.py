import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_compression.reporting import units

shares = st.floats(0, 1)
positive = st.floats(1e-6, 1e13)


def in_percent(text: str) -> float:
    return float(text.removesuffix("%"))


@given(shares)
def test_a_percentage_is_its_share_to_half_a_digit(share):
    assert abs(in_percent(units.percent(share)) - 100 * share) <= 0.05 + 1e-9


@given(st.integers(1, 10**5 - 1))
def test_only_a_perfect_share_reads_as_perfect(wrong):
    assert in_percent(units.percent(1 - wrong / 10**6)) < 100
    assert in_percent(units.percent(wrong / 10**6)) > 0


@pytest.mark.parametrize(
    ("share", "text"),
    [(1, "100.0%"), (0, "0.0%"), (0.99996, "99.996%"), (0.919, "91.9%"), (math.nan, "\u2014")],
)
def test_percentages_read_like_this(share, text):
    assert units.percent(share) == text


@pytest.mark.parametrize(
    ("difference", "text"),
    [
        (0.006, "+0.60\u00a0pp"),
        (-0.024, "\u22122.40\u00a0pp"),
        (0.0, "\u00b10.00\u00a0pp"),
        (-0.00001, "\u22120.001\u00a0pp"),
        (math.nan, "\u2014"),
    ],
)
def test_differences_carry_their_sign_and_never_vanish_by_rounding(difference, text):
    assert units.points(difference) == text


def test_an_interval_needs_both_ends():
    assert units.interval(0.903, 0.915) == "90.3\u201391.5%"
    assert units.interval(0.903, math.nan) == "\u2014"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0\u00a0B"),
        (999, "999\u00a0B"),
        (1000, "1.00\u00a0kB"),
        (84_120, "84.1\u00a0kB"),
        (999_600, "1.00\u00a0MB"),
        (1_140_000, "1.14\u00a0MB"),
        (math.nan, "\u2014"),
    ],
)
def test_sizes_have_three_digits_and_roll_over_to_the_next_unit(count, text):
    assert units.size(count) == text


@given(st.integers(0, 10**14))
def test_a_size_is_its_bytes_to_half_a_percent(count):
    text, unit = units.size(count).split(units.SPACE)
    scale = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}[unit]
    assert float(text.replace(",", "")) * scale == pytest.approx(count, rel=0.0051)


def test_quantities_are_short_and_exact_counts_are_long():
    assert [units.quantity(n) for n in (0, 512, 271_824, 1_270_000)] == [
        "0",
        "512",
        "272k",
        "1.27M",
    ]
    assert units.exact(10_000) == "10,000"
    assert units.quantity(math.nan) == units.exact(math.nan) == units.MISSING


def test_latencies_that_are_compared_share_a_unit():
    micro = "\u00a0\u00b5s"
    assert units.latencies([0.612, 0.0352, math.nan]) == [f"612{micro}", f"35.2{micro}", "\u2014"]
    assert units.latencies([1.2, 0.0352]) == ["1.20\u00a0ms", "0.0352\u00a0ms"]
    assert units.latencies([math.nan]) == [units.MISSING]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.84, "0.8 s"),
        (9.96, "10 s"),
        (59.7, "1 min 00 s"),
        (200, "3 min 20 s"),
        (3599.9, "1 h 00 min"),
        (3900, "1 h 05 min"),
        (math.nan, "\u2014"),
    ],
)
def test_durations_read_like_this(seconds, text):
    assert units.duration(seconds).replace(units.SPACE, " ") == text


@given(positive)
def test_significant_keeps_three_digits(value):
    assert float(units.significant(value).replace(",", "")) == pytest.approx(value, rel=0.0051)


@given(st.floats(1e-4, 1e4))
def test_a_factor_never_reads_backwards(ratio):
    words = units.factor(ratio, more="smaller", less="larger", same="unchanged")
    if words == "unchanged":
        assert ratio == pytest.approx(1, rel=0.006)
        return
    assert words.endswith("smaller") == (ratio > 1)
    number = float(re.sub("[^0-9.]", "", words))
    assert number > 1
    assert number == pytest.approx(max(ratio, 1 / ratio), rel=0.006)


def test_an_unknown_factor_is_missing():
    assert units.factor(math.nan, more="", less="", same="") == units.MISSING
    assert units.times(math.nan) == units.unsigned_points(math.nan) == units.MISSING


def test_zero_has_no_magnitude():
    assert units.significant(0) == "0"


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (0.0, "p < 0.001"),
        (1e-30, "p < 0.001"),
        (0.0499, "p = 0.0499"),
        (0.0501, "p = 0.050"),
        (0.3111, "p = 0.31"),
        (1.0, "p = 1.00"),
        (math.nan, "not tested"),
    ],
)
def test_a_p_value_is_never_zero_and_never_crosses_the_threshold(p, text):
    assert units.p_value(p).replace(units.SPACE, " ") == text
