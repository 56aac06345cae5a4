"""Foretells bits by mixing what several contexts say, and codes them.

After Mahoney, "Adaptive weighing of context models for lossless data compression", 2005. Knows
contexts as whole numbers; what they stand for is the business of who codes. All arithmetic is in
integers, the logarithms' tables too, so what one machine encodes any other decodes.

Context i has seen bits, and foretells p_i, that the next is set. These are mixed in the logistic
domain: p = 1 / (1 + exp(-sum_i w_i ln(p_i / (1 - p_i)))). Then the bit is coded, and learned: p_i
moves towards it by a share that falls with what was seen, 1 / (n + 1.5), down to 1 / (limit + 1.5),
and the weights by gradient descent on the bit's cost, w_i += rate (bit - p) ln(p_i / (1 - p_i)).
"""

from collections.abc import Callable
from copy import copy
from functools import cache
from typing import Any

from model_compression.deployment.range_coder import RESOLUTION, Coder

_TOTAL = 1 << RESOLUTION
_FRACTION_BITS = 8
"""Of a logarithm of odds."""
_FURTHEST = 2839
"""The logarithm of the odds of 1 to 2^16, which is 11.09, in 256ths."""
_PRECISION = 22
"""Bits of a probability that is learned."""
_COUNT_BITS = 10
_MOST_SEEN = (1 << _COUNT_BITS) - 1
_WEIGHT_BITS = 16
_RATE_BITS = 12
_STEP_BITS = RESOLUTION + _FRACTION_BITS + _RATE_BITS - _WEIGHT_BITS
"""By which an error, a logarithm and a rate, multiplied, are more than the step of a weight."""
_HALF_A_STEP = 1 << _STEP_BITS - 1
_NEGLIGIBLE = 4_000
"""Errors by the rate below which the weights stay: a bit that was nearly sure teaches nothing."""
_TO_CHANCE = _COUNT_BITS + _PRECISION - RESOLUTION
_WORK_BITS = 80
"""Bits of the fractions with which the tables are made."""


def _chances() -> list[int]:
    """By the logarithm of odds from -_FURTHEST to _FURTHEST, the chance, of 2^RESOLUTION."""
    one = 1 << _WORK_BITS
    # The series of exp(1/256), whose every term is the one before, divided.
    step, term, place = one, one, 0
    while term:
        place += 1
        term = term // place >> _FRACTION_BITS
        step += term
    odds, larger = one, []
    for _ in range(_FURTHEST + 1):
        larger.append(min((odds << RESOLUTION) // (odds + one), _TOTAL - 1))
        odds = odds * step >> _WORK_BITS
    return [_TOTAL - chance for chance in larger[:0:-1]] + larger


_CHANCES = _chances()


def _logarithms() -> list[int]:
    """By the chance, of 2^RESOLUTION, the logarithm of its odds."""
    logarithms, place = [], 0
    for chance in range(_TOTAL):
        while place < 2 * _FURTHEST and _CHANCES[place] < chance:
            place += 1
        logarithms.append(place - _FURTHEST)
    return logarithms


_LOGARITHMS = _logarithms()
_SHARES = [(2 << RESOLUTION) // (2 * seen + 3) for seen in range(_MOST_SEEN + 1)]
"""By how many bits were seen, how far a probability moves, of 2^RESOLUTION."""
_UNKNOWN = 1 << _PRECISION - 1 + _COUNT_BITS
"""A probability of a half, of which nothing was seen."""
_SURE = (1 << _PRECISION) - 1

_STEP = """
def step(coder, bit, tables, contexts, weights, rate, limit):
    {tables}, = tables
    {places}, = contexts
    {weights}, = weights
    {states}, = {states_there},
    {said}, = {logarithms},
    mixed = {sum} >> {_WEIGHT_BITS}
    if mixed > {_FURTHEST}:
        mixed = {_FURTHEST}
    elif mixed < -{_FURTHEST}:
        mixed = -{_FURTHEST}
    chance = chances[mixed + {_FURTHEST}]
    bit = coder.code_bit(bit, chance)
    error = ((bit << {RESOLUTION}) - chance) * rate
    if error > {_NEGLIGIBLE} or error < -{_NEGLIGIBLE}:
        weights = {learned},
    goal = {_SURE} if bit else 0
    {moves}
    return bit, weights
"""
_MOVE = """
    seen = s{0} & {_MOST_SEEN}
    moved = (goal - (s{0} >> {_COUNT_BITS})) * shares[seen] >> {RESOLUTION} << {_COUNT_BITS}
    t{0}[p{0}] = s{0} + moved + (seen < limit)"""


@cache
def _step(contexts: int) -> Callable[..., tuple[int, tuple[int, ...]]]:
    """Codes and learns one bit; written out for so many contexts, it is twice as fast as loops."""

    def each(text: str, between: str = ", ") -> str:
        return between.join(text.format(place, **globals()) for place in range(contexts))

    source = _STEP.format(
        tables=each("t{0}"),
        places=each("p{0}"),
        weights=each("w{0}"),
        states=each("s{0}"),
        states_there=each("t{0}[p{0}]"),
        said=each("l{0}"),
        logarithms=each("logarithms[s{0} >> {_TO_CHANCE}]"),
        sum=each("w{0} * l{0}", " + ").join("()"),
        learned=each("w{0} + (l{0} * error + {_HALF_A_STEP} >> {_STEP_BITS})"),
        moves=each(_MOVE, ""),
        **globals(),
    )
    made: dict[str, Any] = {"chances": _CHANCES, "logarithms": _LOGARITHMS, "shares": _SHARES}
    exec(source, made)
    step: Callable[..., tuple[int, tuple[int, ...]]] = made["step"]
    return step


class Mixer:
    """Codes bits, each in several contexts, and learns from them.

    Args:
        sizes: By the place of a context, how many different ones it may be.
        limit: Bits beyond which a context forgets as fast as it learns; at most 1023.
        rate: How fast the weights learn, in 4096ths.
        weight: Each context's at the beginning, of 2^16.
    """

    def __init__(self, sizes: tuple[int, ...], *, limit: int, rate: int, weight: int) -> None:
        # Of each context, the probability on top of how many bits were seen.
        self._tables = [[_UNKNOWN] * size for size in sizes]
        self._weights = (weight,) * len(sizes)
        self._step = _step(len(sizes))
        self._limit = limit
        self._rate = rate

    def code(self, coder: Coder, contexts: tuple[int, ...], bit: int) -> int:
        """Codes a bit.

        Args:
            coder: Writes or reads.
            contexts: One for each of ``sizes``, from 0 to the size less one.
            bit: What to write; of no meaning to a coder that reads.

        Returns:
            The bit that was written or read.
        """
        bit, self._weights = self._step(
            coder, bit, self._tables, contexts, self._weights, self._rate, self._limit
        )
        return bit

    def age(self, most: int) -> None:
        """Takes no context for surer than after so many bits, so that it soon learns anew."""
        for table in self._tables:
            table[:] = [state - max((state & _MOST_SEEN) - most, 0) for state in table]

    def renew(self, index: int, size: int) -> None:
        """Forgets what a context foretold, and gives it another size."""
        self._tables[index] = [_UNKNOWN] * size

    def copied(self) -> "Mixer":
        """Another that has learned the same, and learns apart from now on."""
        other = copy(self)
        other._tables = [table.copy() for table in self._tables]
        return other
