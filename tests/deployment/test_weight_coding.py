"""Numbers of tensors: all come back, and the models that learn come near the entropy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_compression.deployment.range_coder import RangeDecoder, RangeEncoder
from model_compression.deployment.weight_coding import (
    LONGEST_ROW,
    Lie,
    NumberCoder,
    bits_to_mix,
)

PLENTY = 1 << 30


def encoded(tensors: list[tuple[np.ndarray, Lie, bool]], budget: int = PLENTY) -> bytes:
    encoder = RangeEncoder()
    coder = NumberCoder(encoder, budget)
    for numbers, lie, mixed in tensors:
        coder.code(np.asarray(numbers).tolist(), len(numbers), lie, mixed)
    return encoder.finish()


@st.composite
def tensors(draw):
    size = draw(st.sampled_from([1, 2, 3, 4, 16, 17, 257]))
    kernel = draw(st.integers(1, 9))
    row = kernel * draw(st.integers(1, 6))
    numbers = draw(st.lists(st.integers(0, size - 1), min_size=row, max_size=120))
    lie = Lie(size, draw(st.integers(0, size - 1)), row, kernel, draw(st.integers(1, row)))
    return np.array(numbers), lie, draw(st.booleans())


@settings(deadline=None)
@given(st.lists(tensors(), max_size=4))
def test_what_was_encoded_is_decoded(several):
    decoder = NumberCoder(RangeDecoder(encoded(several)), PLENTY)
    for numbers, lie, mixed in several:
        assert decoder.code(None, len(numbers), lie, mixed) == numbers.tolist()


@settings(deadline=None)
@given(st.binary(max_size=60), tensors())
def test_any_bytes_decode_to_numbers_of_the_alphabet(content, tensor):
    numbers, lie, mixed = tensor
    decoded = NumberCoder(RangeDecoder(content), PLENTY).code(None, len(numbers), lie, mixed)
    assert len(decoded) == len(numbers)
    assert all(0 <= number < lie.size for number in decoded)


def gaussian(generator):
    return np.clip(np.round(generator.normal(0, 25, 20_000)), -127, 127).astype(int) + 127, 127


def sparse(generator):
    weights = np.clip(np.round(generator.normal(0, 3, 20_000)), -7, 7).astype(int)
    return np.where(generator.random(20_000) < 0.05, weights, 0) + 7, 7


def two_bits(generator):
    return generator.choice(4, 20_000, p=[0.1, 0.5, 0.3, 0.1]), 1


@pytest.mark.parametrize(("draw", "mixed"), [(gaussian, False), (sparse, True), (two_bits, True)])
def test_coding_comes_near_the_entropy_without_a_table(draw, mixed):
    numbers, zero = draw(np.random.default_rng(0))
    lie = Lie(int(numbers.max()) + 1, zero, 200, 1, 1)
    shares = np.bincount(numbers) / len(numbers)
    entropy = -(shares[shares > 0] * np.log2(shares[shares > 0])).sum() * len(numbers) / 8
    assert (bits_to_mix(numbers, lie) is not None) == mixed
    assert len(encoded([(numbers, lie, mixed)])) < 1.035 * entropy


def test_zeros_that_lie_together_cost_less():
    """A pattern of kernels, and columns that are empty, as in a pruned network."""
    generator = np.random.default_rng(0)
    kernels = np.tile((generator.random(9) < 0.5).astype(int), 600)
    columns = ((generator.random(90) < 0.3) & (generator.random((60, 90)) < 0.9)).astype(int)
    for together, kernel in ((kernels, 9), (columns.reshape(-1), 1)):
        lie = Lie(2, 0, 90, kernel, 1)
        apart = generator.permutation(together)
        sizes = [len(encoded([(each, lie, True)])) for each in (together, apart)]
        assert sizes[0] < 0.7 * sizes[1]


def test_the_second_of_two_tensors_costs_less_than_the_first():
    generator = np.random.default_rng(0)
    for mixed, scale in ((True, 1), (False, 30)):
        draws = np.clip(np.round(generator.normal(0, scale, (2, 300))), -127, 127).astype(int) + 127
        lie = Lie(255, 127, 100, 1, 1)
        alone = len(encoded([(draws[0], lie, mixed)]))
        assert len(encoded([(each, lie, mixed) for each in draws])) < 1.98 * alone


def test_all_the_same_costs_nearly_nothing():
    for mixed in (True, False):
        assert len(encoded([(np.full(20_000, 3), Lie(8, 3, 100, 1, 1), mixed)])) < 40


def test_no_more_bits_are_mixed_than_were_foretold_and_allowed():
    numbers = np.random.default_rng(0).integers(0, 16, 500) * (np.arange(500) % 9 == 0)
    lie = Lie(16, 0, 50, 1, 1)
    bits = bits_to_mix(numbers, lie)
    assert bits is not None
    content = encoded([(numbers, lie, True)], budget=bits)
    begun = bits_to_mix(np.zeros(500, np.int64), lie)
    assert begun is not None
    # Of the second, all the zeros may be read, but not all that is to be read of the others.
    for budget in (begun - 1, begun + 20):
        with pytest.raises(ValueError, match="more is to be decoded"):
            NumberCoder(RangeDecoder(content), budget).code(None, 500, lie, True)


def test_rows_too_long_to_remember_are_not_mixed():
    lie = Lie(2, 0, LONGEST_ROW + 1, 1, 1)
    assert bits_to_mix(np.zeros(LONGEST_ROW + 1, np.int64), lie) is None
    with pytest.raises(ValueError, match="never mixed"):
        NumberCoder(RangeDecoder(b""), PLENTY).code(None, LONGEST_ROW + 1, lie, True)
