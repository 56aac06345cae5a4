"""Symbols come out as they went in, in about as many bits as their probabilities ask for."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_compression.deployment.range_coder import RESOLUTION, RangeDecoder, RangeEncoder

TOTAL = 1 << RESOLUTION


@st.composite
def symbols(draw):
    """A bit or a symbol, with what its model says of it."""
    frequency = draw(st.sampled_from([1, 2, 1000, TOTAL // 2, TOTAL - 2]))
    frequencies = [frequency, 1, TOTAL - 1 - frequency]
    starts = [0, frequency, frequency + 1]
    return draw(st.integers(0, 2)), starts, frequencies, draw(st.booleans())


def code(coder, symbol, starts, frequencies, as_bit):
    """The symbol, coded as itself, or as whether it is the first."""
    if as_bit:
        return coder.code_bit(int(symbol == 0), frequencies[0])
    return coder.code_symbol(symbol, starts, frequencies)


@given(st.lists(symbols(), max_size=300))
def test_what_was_encoded_is_decoded(coded):
    encoder = RangeEncoder()
    written = [code(encoder, *each) for each in coded]
    content = encoder.finish()
    decoder = RangeDecoder(content)
    assert [code(decoder, 0, *each[1:]) for each in coded] == written
    chances = [
        (frequencies[0] if symbol == 0 else TOTAL - frequencies[0])
        if as_bit
        else frequencies[symbol]
        for symbol, _, frequencies, as_bit in coded
    ]
    bits = sum(RESOLUTION - math.log2(chance) for chance in chances)
    assert 8 * len(content) <= 1.01 * bits + 40


def test_a_carry_goes_through_all_the_bytes_that_wait():
    """Nearly the whole interval is left out each time, so that low stays just below a carry."""
    chances = [1] * 40 + [TOTAL // 2] * 40
    encoder, bits = RangeEncoder(), [0, 1] * 40
    for bit, chance in zip(bits, chances, strict=True):
        encoder.code_bit(bit, chance)
    decoder = RangeDecoder(encoder.finish())
    assert [decoder.code_bit(0, chance) for chance in chances] == bits


@given(st.binary(max_size=50))
def test_any_bytes_decode_to_something(content):
    decoder = RangeDecoder(content)
    frequencies = [1] * (TOTAL - 1) + [1]
    starts = list(range(TOTAL))
    for _ in range(20):
        assert 0 <= decoder.code_symbol(0, starts, frequencies) < TOTAL
        assert decoder.code_bit(0, 1) in (0, 1)


def test_near_certainty_costs_nearly_nothing():
    encoder = RangeEncoder()
    for _ in range(10_000):
        encoder.code_bit(1, TOTAL - 1)
    assert len(encoder.finish()) <= 1


@pytest.mark.parametrize("frequency", [1, TOTAL // 3])
def test_the_coding_stays_as_it_is(frequency):
    """Files of earlier releases have to be read."""
    encoder = RangeEncoder()
    for place in range(4):
        encoder.code_symbol(place % 2, [0, frequency], [frequency, TOTAL - frequency])
        encoder.code_bit(place // 2, frequency)
    known = {1: "00000002fffa0001", TOTAL // 3: "3cfb"}
    assert encoder.finish().hex() == known[frequency]
