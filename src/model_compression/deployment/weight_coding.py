"""Codes the numbers of tensors: which are zero, and what the others are.

Knows sequences of small whole numbers and how they lie in rows and kernels; not what they mean to a
network. The models learn while they code, and the decoder learns the same, so no table of
frequencies is stored. What was learned from one tensor is where the next one begins.

Numbers of which many are zero, or few are possible, are coded bit by bit: whether it is zero; its
sign; its distance from zero, the highest bit first. Each bit is foretold by mixing
(``bit_mixing``) what was seen in the same column, in columns and numbers nearby, and in the row so
far: a pruned network has empty columns, kernels that look alike, and edges of images that nobody
looks at. Where nearly each number has many bits, this takes long and gains nothing; there a flag
tells whether it is zero, and a table of adaptive frequencies what else.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model_compression.deployment.bit_mixing import Mixer
from model_compression.deployment.range_coder import RESOLUTION, Coder, RangeEncoder

_TOTAL = 1 << RESOLUTION
_FIRST_BLOCK, _LARGEST_BLOCK = 32, 1024
_GROWTH = 24
"""What one symbol adds to its count; the prior gives each symbol 1."""
_MOST = 1 << 24
_MOST_FLAGS = 1 << 10
"""Counts of flags are halved beyond, so that the last thousand weigh most."""
_MOST_BITS_A_NUMBER = 3
"""Mean bits from which on mixing is not worth its time: it was 0.4 % at 8 bits a weight."""
_BITS_A_TENSOR = 256
"""What it takes to begin a tensor, all its models aging: as long as so many bits."""
LONGEST_ROW = 1 << 16
"""Numbers in a row of a tensor that is coded bit by bit: its columns have to be remembered."""
_UNLIMITED = 1 << 62
_REMEMBERED = 30
"""Sightings that what was learned from one tensor counts for in the next."""
_REMEMBERED_SYMBOLS = 100
"""Likewise for the frequencies of numbers."""
_RECENT_BITS, _RECENT_SHIFT = 12, 5
"""The share of others among the last 32 or so numbers, in 4096ths."""


class Lie(NamedTuple):
    """What the numbers of a tensor may be, and how they lie."""

    size: int
    """They are from 0 to ``size`` - 1."""
    zero: int
    """The commonest."""
    row: int
    """How many belong to one output."""
    kernel: int
    """How many belong to one output and one input."""
    width: int
    """How far apart two are that see pixels one below the other; 1 where nothing is known."""


class NumberCoder:
    """Codes one tensor after the other; encoder and decoder have to see the same ones.

    Args:
        coder: Writes or reads.
        budget: Bits that may be coded by mixing: each takes about ten microseconds.
    """

    def __init__(self, coder: Coder, budget: int) -> None:
        self._coder = coder
        self._budget = budget
        self._flag = Mixer((1, 1, 256, 256, 512, 128, 512), limit=1000, rate=16, weight=11000)
        self._sign = Mixer((1, 9, 81), limit=255, rate=16, weight=26000)
        self._symbols: dict[int, _Symbols] = {}
        self._distance = Mixer((512, 4096, 4096), limit=255, rate=16, weight=26000)

    def code(self, values: list[int] | None, count: int, lie: Lie, mixed: bool) -> list[int]:
        """Codes the numbers of a tensor, or reads them.

        Args:
            values: To be written; None where they are read.
            count: How many they are.
            lie: Of the tensor.
            mixed: Whether bit by bit.

        Raises:
            ValueError: If that is more than the budget allows, or a row is too long to be mixed.
        """
        if not mixed:
            return self._code_by_frequency(values, count, lie)
        if lie.row > LONGEST_ROW:
            raise ValueError(f"rows of {lie.row} numbers are never mixed")
        self._spend(_BITS_A_TENSOR + count)
        for mixer in (self._flag, self._sign, self._distance):
            mixer.age(_REMEMBERED)
        self._flag.renew(0, 1)
        self._flag.renew(1, lie.row)
        return self._code_by_bits(values, count, lie)

    def _code_by_bits(self, values: list[int] | None, count: int, lie: Lie) -> list[int]:
        _, zero, row, kernel, width = lie
        alone = kernel == 1
        # What lies before the first number, and beyond the ends of a row, is zero.
        edge = 2 * row + 2
        sizes, signs = bytearray(edge + count), bytearray(edge + count)
        others = [0] * (row + 2 * edge)
        near, below = (width, 1) if alone else (kernel, kernel)
        back = 2 if alone else kernel
        flag, coder = self._flag, self._coder
        coded = []
        recent, column, rows_bits, begun = 0, -1, 0, 0
        for place in range(count):
            column += 1
            if column == row:
                column, begun = 0, begun + 1
                rows_bits = min(begun.bit_length(), 15)
            here, there = place + edge, column + edge
            left, up = sizes[here - 1], sizes[here - row]
            before, twice = sizes[here - back], sizes[here - 2 * kernel]
            up_left, up_right = sizes[here - row - 1], sizes[here - row + 1]
            above = sizes[here - width]
            seen = others[there]
            around = others[there - near] + others[there + near]
            if alone:
                around += others[there - below] + others[there + below]
            around = min(around, 7)
            weight = min((left + before + up + above + up_left + up_right).bit_length(), 7)
            lately = recent >> _RECENT_BITS - 4
            end = 0 if alone else (column % kernel == 0) + 2 * (column % kernel == kernel // 2)
            contexts = (
                0,
                column,
                (min(seen, 7) << 4 | rows_bits) << 1 | (up > 0),
                (left > 0)
                | (before > 0) << 1
                | (up > 0) << 2
                | (up_left > 0) << 3
                | (up_right > 0) << 4
                | (above > 0) << 5
                | (sizes[here - 2] > 0) << 6
                | (twice > 0) << 7,
                (around << 4 | rows_bits) << 2 | min(seen, 3),
                lately << 3 | min(8 * seen // (begun + 1), 7),
                (weight << 4 | lately) << 2 | end,
            )
            value = zero if values is None else values[place]
            if flag.code(coder, contexts, int(value != zero)) and lie.size > 1:
                known = (
                    0,
                    signs[here - 1] * 3 + signs[here - row],
                    (signs[here - kernel] * 3 + signs[here - width]) * 9
                    + signs[here - row - 1] * 3
                    + signs[here - row + 1],
                )
                value = self._code_other(value, lie, known, (weight, min(left, 3), min(up, 3)))
                sizes[here] = min(abs(value - zero), 255)
                signs[here] = 1 if value < zero else 2
                others[there] += 1
                recent += (1 << _RECENT_BITS) - recent >> _RECENT_SHIFT
            else:
                value = zero
                recent -= recent >> _RECENT_SHIFT
            coded.append(value)
        return coded

    def _code_other(
        self, value: int, lie: Lie, signs: tuple[int, int, int], sizes: tuple[int, int, int]
    ) -> int:
        """A number that is not zero: its sign, then its distance from zero less one."""
        fewer, more = lie.zero, lie.size - 1 - lie.zero
        if fewer and more:
            below = self._sign.code(self._coder, signs, int(value < lie.zero))
        else:
            below = int(fewer > 0)
        kinds = fewer if below else more
        bits = (kinds - 1).bit_length()
        self._spend(1 + bits)
        distance = max(abs(value - lie.zero) - 1, 0)
        weight, left, up = sizes
        node = 1
        for place in reversed(range(bits)):
            bit = 0
            # Where the greater half has none that exists, the bit is known.
            if ((2 * node + 1) << place) - (1 << bits) < kinds:
                contexts = (
                    (node << 1 | below) & 511,
                    ((node << 3 | weight) << 1 | below) & 4095,
                    (node << 4 | left << 2 | up) & 4095,
                )
                bit = self._distance.code(self._coder, contexts, distance >> place & 1)
            node = node << 1 | bit
        distance = node - (1 << bits) + 1
        return lie.zero - distance if below else lie.zero + distance

    def _code_by_frequency(self, values: list[int] | None, count: int, lie: Lie) -> list[int]:
        coder = self._coder
        flags = _Flags(4)
        symbols = self._symbols.setdefault(lie.size, _Symbols(lie.size))
        symbols.age(_REMEMBERED_SYMBOLS)
        was_other = [0] * lie.kernel
        before = slot = 0
        coded = []
        for place in range(count):
            value = lie.zero if values is None else values[place]
            context = before | was_other[slot] << 1
            before = coder.code_bit(int(value != lie.zero), flags.chance(context))
            flags.learn(context, before)
            was_other[slot] = before
            slot = slot + 1 if slot + 1 < lie.kernel else 0
            if before and lie.size > 1:
                value = coder.code_symbol(value, symbols.starts, symbols.frequencies)
                symbols.learn(value)
            else:
                value = lie.zero
            coded.append(value)
        return coded

    def _spend(self, bits: int) -> None:
        self._budget -= bits
        if self._budget < 0:
            raise ValueError("more is to be decoded than a container of this size may hold")


def bits_to_mix(numbers: NDArray[np.int64], lie: Lie) -> int | None:
    """At most so many bits are mixed if these numbers are coded bit by bit; None if not worth it.

    Args:
        numbers: At least one, from 0 to ``size`` - 1.
        lie: Of the tensor.
    """
    far = max(lie.zero, lie.size - 1 - lie.zero, 1)
    bits = len(numbers) + int(np.count_nonzero(numbers != lie.zero)) * (2 + (far - 1).bit_length())
    worth_it = bits <= _MOST_BITS_A_NUMBER * len(numbers) and lie.row <= LONGEST_ROW
    return _BITS_A_TENSOR + bits if worth_it else None


def mixed_bytes(numbers: NDArray[np.int64], lie: Lie) -> int:
    """What numbers take that are coded bit by bit, alone; takes as long as coding them."""
    encoder = RangeEncoder()
    NumberCoder(encoder, _UNLIMITED).code(numbers.tolist(), len(numbers), lie, mixed=True)
    return len(encoder.finish())


class _Flags:
    """The probability that a flag is set, by what was seen in the same context."""

    def __init__(self, contexts: int) -> None:
        self._set = [1] * contexts
        self._all = [2] * contexts

    def chance(self, context: int) -> int:
        """The frequency of a flag that is set; at least 1, and less than all."""
        return min(max(_TOTAL * self._set[context] // self._all[context], 1), _TOTAL - 1)

    def learn(self, context: int, flag: int) -> None:
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

    def age(self, most: int) -> None:
        """Takes all that was seen for so many sightings, so that it is soon learned anew."""
        self._counts = 1 + self._counts * most * _GROWTH // int(self._counts.sum())
        self._seen.clear()
        self._block = _FIRST_BLOCK
        self._update()

    def _update(self) -> None:
        """Each gets at least 1 of all; what rounding leaves goes to the likeliest."""
        size = len(self._counts)
        frequencies = 1 + self._counts * (_TOTAL - size) // int(self._counts.sum())
        frequencies[int(frequencies.argmax())] += _TOTAL - int(frequencies.sum())
        self.frequencies: list[int] = frequencies.tolist()
        self.starts: list[int] = (np.cumsum(frequencies) - frequencies).tolist()
