"""Mixed bits come out as they went in, near what the best of their contexts could tell."""

import math
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_compression.deployment import bit_mixing
from model_compression.deployment.bit_mixing import Mixer
from model_compression.deployment.range_coder import RESOLUTION, RangeDecoder, RangeEncoder

SIZES = (1, 3, 8)


def mixer(sizes: tuple[int, ...] = SIZES, limit: int = 255) -> Mixer:
    return Mixer(sizes, limit=limit, rate=16, weight=65536 // len(sizes))


class Cost:
    """A coder that adds up what bits cost."""

    def __init__(self) -> None:
        self.bits = 0.0

    def code_bit(self, bit: int, chance: int) -> int:
        assert 0 < chance < 1 << RESOLUTION
        self.bits += RESOLUTION - math.log2(chance if bit else (1 << RESOLUTION) - chance)
        return bit

    def code_symbol(self, symbol, starts, frequencies):
        raise AssertionError


def cost(coded: Mixer, contexts: list[tuple[int, ...]], bits: list[int]) -> float:
    coder = Cost()
    for context, bit in zip(contexts, bits, strict=True):
        coded.code(coder, context, bit)
    return coder.bits


steps = st.lists(
    st.tuples(st.tuples(*(st.integers(0, size - 1) for size in SIZES)), st.integers(0, 1)),
    max_size=200,
)


@given(steps, steps)
def test_what_was_encoded_is_decoded_also_past_aging_and_renewal(first, second):
    def code(coder, given_bits):
        mixed, coded = mixer(), []
        for part in (first, second):
            coded += [mixed.code(coder, contexts, bit * given_bits) for contexts, bit in part]
            mixed.age(3)
            mixed.renew(1, 3)
        return coded

    encoder = RangeEncoder()
    assert code(encoder, 1) == [bit for _, bit in first + second]
    assert code(RangeDecoder(encoder.finish()), 0) == [bit for _, bit in first + second]


def test_the_context_that_tells_is_believed_and_the_one_that_does_not_is_not():
    generator = np.random.default_rng(0)
    told, noise = generator.integers(0, 3, 20_000), generator.integers(0, 8, 20_000)
    shares = np.array([0.02, 0.5, 0.9])[told]
    bits = (generator.random(20_000) < shares).astype(int)
    entropy = -np.where(bits, np.log2(shares), np.log2(1 - shares)).sum()
    contexts = [(0, int(a), int(b)) for a, b in zip(told, noise, strict=True)]
    assert cost(mixer(), contexts, bits.tolist()) < 1.03 * entropy


def test_two_contexts_together_tell_more_than_either():
    """Odds that multiply, as mixing has it: a third of what the bits cost comes of each."""
    generator = np.random.default_rng(0)
    left, right = generator.integers(0, 8, (2, 20_000))
    odds = np.exp((left - 3.5) + (right - 3.5))
    bits = (generator.random(20_000) < odds / (1 + odds)).astype(int).tolist()
    pairs = [(int(a), int(b)) for a, b in zip(left, right, strict=True)]
    both = cost(mixer((8, 8)), pairs, bits)
    for place in (0, 1):
        assert both < 0.85 * cost(mixer((8,)), [(pair[place],) for pair in pairs], bits)


def test_certainty_costs_nearly_nothing_and_its_end_not_without_end():
    certain = mixer()
    assert cost(certain, [(0, 0, 0)] * 5000, [1] * 5000) < 30
    assert cost(certain, [(0, 0, 0)], [0]) < 17


def test_after_aging_a_change_is_learned_sooner():
    def after_a_change(aged: bool) -> float:
        coded = mixer((1,), limit=1000)
        cost(coded, [(0,)] * 2000, [1, 0, 0, 0] * 500)
        if aged:
            coded.age(10)
        return cost(coded, [(0,)] * 100, [1] * 100)

    assert after_a_change(True) < 0.6 * after_a_change(False)


def test_a_renewed_context_has_forgotten_and_the_others_have_not():
    coded = mixer((1, 4))
    cost(coded, [(0, 3)] * 100, [1] * 100)
    before = coded.copied()
    coded.renew(1, 9)
    assert cost(before, [(0, 3)], [1]) < cost(coded, [(0, 8)], [1]) < 1


def test_a_copy_learns_apart():
    coded = mixer()
    cost(coded, [(0, 1, 2)] * 20, [1] * 20)
    copied = coded.copied()
    expected = cost(coded.copied(), [(0, 1, 2)], [1])
    cost(coded, [(0, 1, 2)] * 20, [0] * 20)
    assert cost(copied, [(0, 1, 2)], [1]) == expected


def test_the_tables_are_those_of_the_logistic_function():
    middle = len(bit_mixing._CHANCES) // 2
    for place, chance in enumerate(bit_mixing._CHANCES):
        assert abs(chance - 65536 / (1 + math.exp((middle - place) / 256))) <= 1
    for chance in (1, 40, 1 << 14, 1 << 15, 65535):
        assert abs(bit_mixing._LOGARITHMS[chance] / 256 - math.log(chance / (65536 - chance))) < 0.4
    assert min(bit_mixing._CHANCES) > 0
    assert max(bit_mixing._CHANCES) < 1 << RESOLUTION


def test_no_float_takes_part():
    """What one machine encodes any other decodes: no rounding of floats is in it."""
    coded, seen = mixer(), []

    def note(frame, event, _):
        if frame.f_globals.get("__name__") == bit_mixing.__name__ or "chances" in frame.f_globals:
            seen.extend(type(value) for value in frame.f_locals.values())
        return note

    tracer = sys.gettrace()
    sys.settrace(note)
    try:
        chances, logarithms = bit_mixing._chances(), bit_mixing._logarithms()
        for bit in (1, 0, 1, 1):
            coded.code(RangeEncoder(), (0, 2, 7), bit)
    finally:
        sys.settrace(tracer)
    assert (chances, logarithms) == (bit_mixing._CHANCES, bit_mixing._LOGARITHMS)
    assert int in seen
    assert float not in seen


@pytest.mark.parametrize("limit", [2, 30])
def test_the_mixing_stays_as_it_is(limit):
    """Containers of earlier releases have to be read."""
    encoder, coded = RangeEncoder(), mixer((1, 2), limit=limit)
    for place in range(60):
        coded.code(encoder, (0, place % 2), int(place % 6 < 3))
    assert encoder.finish().hex() == {2: "4c44e3a688b261d11e", 30: "4c6ef57dd181b792"}[limit]
