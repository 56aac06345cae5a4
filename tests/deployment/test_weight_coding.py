"""Numbers of tensors: all come back, and the models that learn come near the entropy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_compression.deployment.weight_coding import decode_symbols, encode_symbols


@given(st.data())
def test_what_was_encoded_is_decoded(data):
    size = data.draw(st.sampled_from([1, 2, 3, 16, 257]))
    values = data.draw(st.lists(st.integers(0, size - 1), max_size=400))
    zero = data.draw(st.integers(0, size - 1))
    stride = data.draw(st.integers(0, 30))
    content = encode_symbols(values, size, zero, stride)
    assert decode_symbols(content, len(values), size, zero, stride).tolist() == values


def gaussian(generator):
    return np.clip(np.round(generator.normal(0, 25, 30_000)), -127, 127).astype(int) + 127, 127


def sparse(generator):
    weights = np.clip(np.round(generator.normal(0, 3, 30_000)), -7, 7).astype(int)
    return np.where(generator.random(30_000) < 0.05, weights, 0) + 7, 7


def two_bits(generator):
    return generator.choice(4, 30_000, p=[0.1, 0.5, 0.3, 0.1]), 1


@pytest.mark.parametrize("draw", [gaussian, sparse, two_bits])
def test_coding_comes_near_the_entropy_without_a_table(draw):
    values, zero = draw(np.random.default_rng(0))
    shares = np.bincount(values) / len(values)
    entropy = -(shares[shares > 0] * np.log2(shares[shares > 0])).sum() * len(values) / 8
    coded = encode_symbols(values.tolist(), int(values.max()) + 1, zero, 9)
    assert len(coded) < 1.03 * entropy


def test_zeros_that_lie_together_cost_less():
    """A pattern of kernels: the zero before, and that one kernel before, tell the next."""
    generator = np.random.default_rng(0)
    kernel = (generator.random(9) < 0.5).astype(int)
    together = np.tile(kernel, 1000)
    apart = generator.permutation(together)
    sizes = [len(encode_symbols(each.tolist(), 2, 0, 9)) for each in (together, apart)]
    assert sizes[0] < 0.2 * sizes[1]


def test_all_the_same_costs_nearly_nothing():
    assert len(encode_symbols([3] * 100_000, 8, 3, 1)) < 40


@given(st.binary(max_size=60), st.integers(0, 200), st.integers(1, 257), st.data())
def test_any_bytes_decode_to_numbers_of_the_alphabet(content, count, size, data):
    zero = data.draw(st.integers(0, size - 1))
    values = decode_symbols(content, count, size, zero, 3)
    assert len(values) == count
    assert ((values >= 0) & (values < size)).all()
