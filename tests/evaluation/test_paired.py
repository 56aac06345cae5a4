import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_compression.evaluation import mcnemar_test, paired_interval


def right(*values: int) -> np.ndarray:
    return np.array(values, dtype=bool)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_the_p_value_is_the_two_sided_binomial_tail(pairs):
    a, b = (np.array(column) for column in zip(*pairs, strict=True))
    result = mcnemar_test(a, b)
    only_a = sum(x and not y for x, y in pairs)
    only_b = sum(y and not x for x, y in pairs)
    differing = only_a + only_b
    tail = sum(math.comb(differing, k) for k in range(min(only_a, only_b) + 1)) / 2**differing
    assert (result.only_a, result.only_b) == (only_a, only_b)
    assert result.p_value == pytest.approx(min(1.0, 2 * tail))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_swapping_the_classifiers_swaps_the_counts_alone(pairs):
    a, b = (np.array(column) for column in zip(*pairs, strict=True))
    forth, back = mcnemar_test(a, b), mcnemar_test(b, a)
    assert (forth.only_a, forth.only_b) == (back.only_b, back.only_a)
    assert forth.p_value == pytest.approx(back.p_value)


def test_classifiers_that_are_right_on_the_same_images_do_not_differ():
    assert mcnemar_test(right(1, 0, 1), right(1, 0, 1)) == (0, 0, 1.0)


def test_other_images_are_refused():
    with pytest.raises(ValueError, match=r"\(2,\) and \(3,\)"):
        mcnemar_test(right(1, 0), right(1, 0, 1))


def test_predictions_instead_of_hits_are_refused():
    with pytest.raises(ValueError, match="Compare the predictions to the labels"):
        mcnemar_test(np.array([3, 4]), np.array([3, 5]))


counts = st.tuples(st.integers(0, 200), st.integers(0, 200), st.integers(0, 2000))


@given(counts)
def test_the_interval_is_walds_with_half_an_image_more_in_each_cell(drawn):
    b, c, same = drawn
    n = max(b + c + same, 1)
    low, high = paired_interval(b, c, n)
    # From the definition: values -1, 0, 1 of so many images, their mean and its standard error.
    values = np.array([-1.0, 1.0, 0.0])
    weights = np.array([b + 0.5, c + 0.5, n - b - c + 1.0])
    mean = np.average(values, weights=weights)
    error = math.sqrt(np.average((values - mean) ** 2, weights=weights) / weights.sum())
    assert low == pytest.approx(max(-1, mean - 1.959964 * error), abs=1e-6)
    assert high == pytest.approx(min(1, mean + 1.959964 * error), abs=1e-6)


def test_the_interval_has_a_width_where_the_two_never_differ():
    low, high = paired_interval(0, 0, 100)
    assert low == -high < 0


def test_the_sign_is_that_of_the_seconds_gain():
    low, high = paired_interval(10, 60, 1000)
    assert 0 < low < 0.05 < high
    assert paired_interval(60, 10, 1000) == pytest.approx((-high, -low))


def test_the_interval_covers_what_it_promises():
    """Of simulated pairs with a known difference, about 95 % (here: within 1.5 points)."""
    random = np.random.default_rng(0)
    only_a, only_b, n = 0.04, 0.02, 300
    drawn = random.multinomial(n, [only_a, only_b, 1 - only_a - only_b], size=4000)
    intervals = [paired_interval(int(a), int(b), n) for a, b, _ in drawn]
    covered = np.mean([low <= only_b - only_a <= high for low, high in intervals])
    assert covered == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize("arguments", [(1, 1, 1), (-1, 0, 5), (0, 0, 0), (0, 0, 5, 1.0)])
def test_impossible_counts_have_no_interval(arguments):
    with pytest.raises(ValueError, match="Expected"):
        paired_interval(*arguments)
