import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_compression.training.schedules import OneCycle, WarmupCosine, learning_rate_factor

SCHEDULES = st.one_of(
    st.builds(WarmupCosine, warmup_epochs=st.floats(0, 2.5), final=st.floats(0, 1)),
    st.builds(
        OneCycle,
        name=st.just("one_cycle"),
        warmup_epochs=st.floats(0.5, 2.5),
        initial=st.floats(0, 1),
        final=st.floats(0, 1),
    ),
)


@given(schedule=SCHEDULES, steps=st.integers(1, 20), epochs=st.integers(3, 10))
def test_learning_rate_rises_to_one_peak_and_falls(schedule, steps, epochs):
    factors = [learning_rate_factor(s, steps, epochs, schedule) for s in range(steps * epochs)]
    peak = max(range(len(factors)), key=factors.__getitem__)
    assert all(0 <= factor <= 1 + 1e-12 for factor in factors)
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert all(a >= b - 1e-12 for a, b in zip(factors[peak:], factors[peak + 1 :], strict=False))


def test_cosine_has_its_textbook_values():
    schedule = WarmupCosine(warmup_epochs=1)
    values = [learning_rate_factor(step, 10, 3, schedule) for step in (0, 9, 10, 20, 29)]
    assert values == pytest.approx([0.1, 1.0, 1.0, 0.5, 0.5 * (1 + math.cos(math.pi * 19 / 20))])


def test_one_cycle_is_two_straight_lines():
    schedule = OneCycle(name="one_cycle", warmup_epochs=1, initial=0.1, final=0.2)
    values = [learning_rate_factor(step, 10, 3, schedule) for step in (0, 4, 9, 10, 15, 20)]
    assert values == pytest.approx([0.19, 0.55, 1.0, 1.0, 0.8, 0.6])
