import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from model_compression.images.randomness import UNIFORM_RANGE, random_bits, uniform

MASK = 2**64 - 1


def splitmix64(seed: int) -> int:
    """First output of the reference implementation (prng.di.unimi.it/splitmix64.c)."""
    z = (seed + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def test_the_first_output_for_two_published_seeds() -> None:
    assert random_bits(1234567).item() == 6457827717110365317
    assert random_bits(0).item() & MASK == 0xE220A8397B1DCDAF


@given(counters=st.lists(st.integers(-(2**63), 2**64), min_size=1, max_size=4))
def test_counters_are_absorbed_one_after_the_other(counters: list[int]) -> None:
    state = 0
    for counter in counters:
        state = splitmix64((state ^ counter) & MASK)
    assert random_bits(*counters).item() & MASK == state


@given(st.integers(0, 2**40), st.integers(0, 2**40), st.integers(0, 2**62))
def test_a_tensor_of_counters_is_hashed_element_by_element(a: int, b: int, c: int) -> None:
    together = random_bits(a, torch.tensor([[b], [c]]), torch.tensor([1, 2, 3]))
    assert together.shape == (2, 3)
    assert together[1, 2].item() == random_bits(a, c, 3).item()


def test_no_two_of_many_indices_collide() -> None:
    assert random_bits(0, 0, torch.arange(100_000)).unique().numel() == 100_000


def test_uniform_integers_are_even_and_stay_in_range() -> None:
    values = uniform(random_bits(7, torch.arange(60_000)), 6).numpy()
    counts = np.bincount(values, minlength=6)
    assert len(counts) == 6
    # 10,000 are expected in each; the standard deviation of a count is 91.
    assert np.abs(counts - 10_000).max() < 5 * 91


@given(bits=st.integers(-(2**63), 2**63 - 1), limit=st.integers(1, UNIFORM_RANGE))
def test_uniform_scales_the_upper_bits(bits: int, limit: int) -> None:
    value = int(uniform(torch.tensor(bits), limit))
    assert value == ((bits & MASK) >> 40) * limit // 2**24
    assert 0 <= value < limit
