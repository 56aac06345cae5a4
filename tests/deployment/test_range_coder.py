"""Symbols come out as they went in, in about as many bits as their probabilities ask for."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_compression.deployment.range_coder import RESOLUTION, RangeDecoder, RangeEncoder

TOTAL = 1 << RESOLUTION


@st.composite
def intervals(draw):
    """Symbols of changing models: where each one's frequencies begin, and how many they are."""
    frequency = draw(st.sampled_from([1, 2, 1000, TOTAL // 2, TOTAL - 1, TOTAL]))
    return draw(st.integers(0, TOTAL - frequency)), frequency


@given(st.lists(intervals(), max_size=300))
def test_what_was_encoded_is_decoded(symbols):
    encoder = RangeEncoder()
    for start, frequency in symbols:
        encoder.encode(start, frequency)
    content = encoder.finish()
    decoder = RangeDecoder(content)
    for start, frequency in symbols:
        assert start <= decoder.target() < start + frequency
        decoder.consume(start, frequency)
    bits = sum(RESOLUTION - math.log2(frequency) for _, frequency in symbols)
    assert 8 * len(content) <= 1.01 * bits + 40


def test_a_carry_goes_through_all_the_bytes_that_wait():
    """Nearly the whole interval is left out each time, so that low stays just below a carry."""
    symbols = [(TOTAL - 1, 1)] * 40 + [(TOTAL // 2, TOTAL // 2)] * 40
    encoder = RangeEncoder()
    for start, frequency in symbols:
        encoder.encode(start, frequency)
    decoder = RangeDecoder(encoder.finish())
    for start, frequency in symbols:
        assert start <= decoder.target() < start + frequency
        decoder.consume(start, frequency)


@given(st.binary(max_size=50))
def test_any_bytes_decode_to_something(content):
    decoder = RangeDecoder(content)
    for _ in range(100):
        target = decoder.target()
        assert 0 <= target < TOTAL
        decoder.consume(target, 1)


def test_certainty_costs_nothing():
    encoder = RangeEncoder()
    for _ in range(10_000):
        encoder.encode(0, TOTAL)
    assert encoder.finish() == b""


@pytest.mark.parametrize("frequency", [1, TOTAL // 3])
def test_the_coding_stays_as_it_is(frequency):
    """Files of earlier releases have to be read for ever."""
    encoder = RangeEncoder()
    for place in range(4):
        encoder.encode(place * (TOTAL - frequency) // 3, frequency)
    known = {1: "0000aa7ffffd55f004", TOTAL // 3: "25ebda10"}
    assert encoder.finish().hex() == known[frequency]
