"""What goes from which layer: the target is met, at the least damage."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_compression.pruning.allocation import allocate

SHARES = (0.25, 0.5, 0.75)


def weighted(weights):
    """Removed: the mean of the ratios, weighted."""
    total = sum(weights.values())
    return lambda ratios: sum(weights[layer] * ratio for layer, ratio in ratios.items()) / total


def multiplied(widths):
    """Removed, of a chain of layers: each costs its inputs times its outputs, as MACs do."""

    def macs(ratios):
        left = [width * (1 - ratios.get(name, 0)) for name, width in widths.items()]
        return sum(first * second for first, second in itertools.pairwise([3, *left, 10]))

    return lambda ratios: 1 - macs(ratios) / macs({})


def damages(draw_from):
    growing = st.lists(draw_from, min_size=3, max_size=3).map(sorted)
    return st.fixed_dictionaries(
        {name: growing.map(lambda each: dict(zip(SHARES, each, strict=True))) for name in "abc"}
    )


@given(
    damages(st.floats(0, 10)),
    st.fixed_dictionaries({name: st.integers(1, 64) for name in "abc"}),
    st.floats(0.05, 0.6),
    st.sampled_from([weighted, multiplied]),
)
def test_the_target_is_met_and_no_share_is_larger_than_it_has_to_be(damage, sizes, wanted, kind):
    removed = kind(sizes)
    if removed(dict.fromkeys("abc", 0.75)) < wanted:
        return
    ratios = allocate(damage, removed, wanted)
    assert set(ratios) == set("abc")
    assert all(ratio in (0.0, *SHARES) for ratio in ratios.values())
    assert removed(ratios) >= wanted
    for layer, ratio in ratios.items():
        if ratio > 0:
            smaller = max(share for share in (0.0, *SHARES) if share < ratio)
            assert removed({**ratios, layer: smaller}) < wanted


@given(st.lists(st.floats(0.01, 10), min_size=4, max_size=4, unique=True))
def test_of_equal_layers_those_go_that_hurt_least(hurts):
    damage = {str(place): {0.5: hurt} for place, hurt in enumerate(hurts)}
    ratios = allocate(damage, weighted(dict.fromkeys(damage, 1)), 0.25)
    gone = {hurts[int(layer)] for layer, ratio in ratios.items() if ratio > 0}
    assert gone == set(sorted(hurts)[:2])


def test_a_small_step_that_hurts_does_not_hide_a_large_one_that_pays():
    damage = {"a": {0.1: 1.0, 0.9: 1.0}, "b": {0.1: 0.5, 0.9: 9.0}}
    assert allocate(damage, weighted({"a": 1, "b": 1}), 0.4) == {"a": 0.9, "b": 0.0}


def test_the_greedy_choice_is_near_the_best_of_all():
    damage = {
        "a": {0.25: 0.1, 0.5: 0.4, 0.75: 2.0},
        "b": {0.25: 0.0, 0.5: 0.1, 0.75: 0.2},
        "c": {0.25: 1.0, 0.5: 2.0, 0.75: 4.0},
    }
    removed = multiplied({"a": 16, "b": 32, "c": 64})

    def cost(ratios):
        return sum(damage[layer].get(ratio, 0.0) for layer, ratio in ratios.items())

    for wanted in (0.2, 0.4, 0.6, 0.8):
        choices = [
            dict(zip("abc", chosen, strict=True))
            for chosen in itertools.product((0.0, *SHARES), repeat=3)
        ]
        best = min(cost(ratios) for ratios in choices if removed(ratios) >= wanted)
        assert cost(allocate(damage, removed, wanted)) <= 1.5 * best + 0.1


def test_an_infinite_damage_is_taken_last():
    damage = {"a": {0.5: math.inf, 0.75: math.inf}, "b": {0.5: 1.0, 0.75: 5.0}}
    removed = weighted({"a": 1, "b": 1})
    assert allocate(damage, removed, 0.35) == {"a": 0.0, "b": 0.75}
    assert allocate(damage, removed, 0.6) == {"a": 0.5, "b": 0.75}


def test_a_target_that_is_met_to_the_last_weight_is_met():
    """Sums of shares are floats: 0.8 of each of these layers adds up to 0.7999999999999999."""
    sizes = {"a": 27, "b": 432, "c": 4608, "d": 18432}
    damage = {layer: {0.8: 1.0} for layer in sizes}

    def removed(ratios):
        return sum(ratio * sizes[layer] for layer, ratio in ratios.items()) / sum(sizes.values())

    for wanted in (0.8, removed(dict.fromkeys(sizes, 0.8)) + 1e-12):
        assert allocate(damage, removed, wanted) == dict.fromkeys(sizes, 0.8)


def test_what_can_not_be_met_is_refused_with_what_can():
    with pytest.raises(ValueError, match=r"takes away 45\.0%.*90\.0% are to go: lower"):
        allocate({"a": {0.45: 1.0}}, weighted({"a": 1}), 0.9)
    with pytest.raises(ValueError, match=r"takes away 45\.0%"):
        allocate({"a": {0.45: 1.0}}, weighted({"a": 1}), 0.9, weighted({"a": 1}))


def test_what_is_slow_is_asked_a_few_times_only():
    damage = {str(place): {0.1 * step: step**2.0 for step in range(1, 9)} for place in range(8)}
    sizes = {layer: 1 + int(layer) for layer in damage}
    quickly = weighted(sizes)
    asked = []

    def slowly(ratios):
        asked.append(dict(ratios))
        return 0.9 * quickly(ratios)

    ratios = allocate(damage, slowly, 0.3, quickly)
    assert 0.3 <= 0.9 * quickly(ratios) <= 0.33
    # The whole way, its bisection, and what is given back.
    assert len(asked) <= 1 + 6 + 2 * len(damage)
