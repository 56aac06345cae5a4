"""Codes the numbers of a tensor: which are zero, and what the others are.

Knows sequences of small whole numbers and how they repeat; not what they mean to a network. The
models learn while they code, and the decoder learns the same, so no table of frequencies is stored.
"""

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from model_compression.deployment.range_coder import RESOLUTION, RangeDecoder, RangeEncoder

_TOTAL = 1 << RESOLUTION
_FIRST_BLOCK, _LARGEST_BLOCK = 32, 1024
_GROWTH = 24
"""What one symbol adds to its count; the prior gives each symbol 1."""
_MOST = 1 << 24
_MOST_FLAGS = 1 << 10
"""Counts of flags are halved beyond, so that the last thousand weigh most."""


class _Flags:
    """The probability that a flag is set, by what was seen in the same context."""

    def __init__(self, contexts: int) -> None:
        self._set = [1] * contexts
        self._all = [2] * contexts

    def interval(self, context: int) -> int:
        """The frequency of a flag that is not set; at least 1, and less than all."""
        clear = self._all[context] - self._set[context]
        return min(max(_TOTAL * clear // self._all[context], 1), _TOTAL - 1)

    def learn(self, context: int, flag: bool) -> None:
        self._set[context] += flag
        self._all[context] += 1
        if self._all[context] > _MOST_FLAGS:
            self._set[context] = self._set[context] + 1 >> 1
            self._all[context] = max(self._all[context] + 1 >> 1, self._set[context] + 1)


class _Symbols:
    """Frequencies of the numbers from 0 to size - 1, brought up to date after every block."""

    def __init__(self, size: int) -> None:
        self._counts = np.ones(size, dtype=np.int64)
        self._seen: list[int] = []
        self._block = _FIRST_BLOCK
        self._update()

    def learn(self, symbol: int) -> None:
        self._seen.append(symbol)
        if len(self._seen) == self._block:
            seen = np.bincount(self._seen, minlength=len(self._counts))
            self._counts += _GROWTH * seen
            if int(self._counts.sum()) > _MOST:
                self._counts = (self._counts + 1) >> 1
            self._seen.clear()
            self._block = min(2 * self._block, _LARGEST_BLOCK)
            self._update()

    def _update(self) -> None:
        """Each gets at least 1 of all; what rounding leaves goes to the likeliest."""
        size = len(self._counts)
        frequencies = 1 + self._counts * (_TOTAL - size) // int(self._counts.sum())
        frequencies[int(frequencies.argmax())] += _TOTAL - int(frequencies.sum())
        self.frequencies: list[int] = frequencies.tolist()
        self.starts: list[int] = (np.cumsum(frequencies) - frequencies).tolist()


def encode_symbols(values: Sequence[int], size: int, zero: int, stride: int) -> bytes:
    """Codes numbers, most of which may be one and the same.

    Args:
        values: From 0 to ``size`` - 1.
        size: At most 2^14.
        zero: The number that gets a flag of its own; the flag's context is whether the number
            before it and the one ``stride`` before it were ``zero``.
        stride: Such as the numbers in a kernel.
    """
    encoder = RangeEncoder()
    flags, symbols = _Flags(4), _Symbols(size)
    was_zero = [False] * max(stride, 1)
    before = False
    for place, value in enumerate(values):
        slot = place % len(was_zero)
        context = before + 2 * was_zero[slot]
        is_zero = value == zero
        other = flags.interval(context)
        encoder.encode(other if is_zero else 0, _TOTAL - other if is_zero else other)
        flags.learn(context, is_zero)
        before = was_zero[slot] = is_zero
        if not is_zero and size > 1:
            encoder.encode(symbols.starts[value], symbols.frequencies[value])
            symbols.learn(value)
    return encoder.finish()


def decode_symbols(
    content: bytes, count: int, size: int, zero: int, stride: int
) -> NDArray[np.int64]:
    """What ``encode_symbols`` was given; of other bytes, ``count`` numbers below ``size``."""
    decoder = RangeDecoder(content)
    flags, symbols = _Flags(4), _Symbols(size)
    was_zero = [False] * max(stride, 1)
    before = False
    values = np.full(count, zero, dtype=np.int64)
    for place in range(count):
        slot = place % len(was_zero)
        context = before + 2 * was_zero[slot]
        other = flags.interval(context)
        is_zero = decoder.target() >= other
        decoder.consume(other if is_zero else 0, _TOTAL - other if is_zero else other)
        flags.learn(context, is_zero)
        before = was_zero[slot] = is_zero
        if not is_zero and size > 1:
            value = bisect_right(symbols.starts, decoder.target()) - 1
            decoder.consume(symbols.starts[value], symbols.frequencies[value])
            symbols.learn(value)
            values[place] = value
    return values
