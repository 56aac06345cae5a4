import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_compression.pruning.targets import search


@given(st.floats(0.05, 0.95), st.floats(0.3, 3.0))
def test_a_growing_cost_is_met(wanted, power):
    share = search(lambda each: each**power, wanted, steps=40)
    assert share**power == pytest.approx(wanted, abs=1e-4)


@given(st.floats(0.01, 0.99), st.integers(1, 12))
def test_of_steps_the_nearest_is_taken(wanted, levels):
    tried = []

    def removed(share: float) -> float:
        tried.append(round(share * levels) / levels)
        return tried[-1]

    share = search(removed, wanted, steps=10)
    best = min(abs(each - wanted) for each in tried)
    assert abs(round(share * levels) / levels - wanted) == pytest.approx(best)
    assert len(tried) == 10


def test_what_can_never_be_reached_takes_all_that_can_go():
    assert search(lambda share: share / 4, 0.5, steps=10) == pytest.approx(1, abs=1e-2)
