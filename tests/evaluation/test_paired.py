import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_compression.evaluation import mcnemar_test


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
