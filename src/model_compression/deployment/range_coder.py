"""Range coding (Martin, 1979): symbols become bytes, few for the likely ones.

Knows intervals of probabilities in whole numbers; which symbol has which is a model's business. All
arithmetic is in integers, so what one machine encodes any other decodes.

With a range r of 32 bits, a symbol whose frequency is f of 2^b, the frequencies before it adding up
to s, narrows the interval to low + (r >> b) · s and r = (r >> b) · f. Whenever r falls below 2^24,
the highest byte of low is settled and written; a carry out of low goes into the bytes that wait.

Both sides have the same ``code_bit`` and ``code_symbol``: an encoder writes what it is given and
gives it back, a decoder gives what was written. So a model is written once for both.
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Protocol

_TOP = 1 << 24
_MASK = (1 << 32) - 1
_START_BYTES = 4

RESOLUTION = 16
"""b: frequencies of a model add up to 2^b."""
_TOTAL = 1 << RESOLUTION


class Coder(Protocol):
    """A side of a range coder."""

    def code_bit(self, bit: int, chance: int) -> int:
        """Codes a bit.

        Args:
            bit: What to write; of no meaning to a decoder.
            chance: That it is set, of 2^RESOLUTION: at least 1, and less than all.
        """

    def code_symbol(self, symbol: int, starts: Sequence[int], frequencies: Sequence[int]) -> int:
        """Codes a symbol.

        Args:
            symbol: What to write; of no meaning to a decoder.
            starts: By the symbols, the frequencies before theirs.
            frequencies: Their own, each at least 1; together 2^RESOLUTION.
        """


class RangeEncoder:
    """Writes symbols, one after the other."""

    def __init__(self) -> None:
        self._low = 0
        self._range = _MASK
        self._written = bytearray()

    def code_bit(self, bit: int, chance: int) -> int:
        """Writes a bit."""
        bound = (self._range >> RESOLUTION) * chance
        if bit:
            self._range = bound
        else:
            self._low += bound
            self._range -= bound
        self._settle()
        return bit

    def code_symbol(self, symbol: int, starts: Sequence[int], frequencies: Sequence[int]) -> int:
        """Writes a symbol."""
        step = self._range >> RESOLUTION
        self._low += step * starts[symbol]
        self._range = step * frequencies[symbol]
        self._settle()
        return symbol

    def finish(self) -> bytes:
        """The bytes; trailing zeros are left out, since a decoder reads zeros past the end."""
        # Of all numbers in the interval, one that ends in zeros saves bytes.
        for zeros in (24, 16, 8):
            rounded = (self._low + (1 << zeros) - 1) >> zeros << zeros
            if rounded < self._low + self._range:
                self._low = rounded
                break
        for _ in range(_START_BYTES):
            self._shift()
        return bytes(self._written.rstrip(b"\0"))

    def _settle(self) -> None:
        while self._range < _TOP:
            self._range <<= 8
            self._shift()

    def _shift(self) -> None:
        if self._low > _MASK:
            self._carry()
        self._written.append(self._low >> 24 & 0xFF)
        self._low = self._low << 8 & _MASK

    def _carry(self) -> None:
        place = len(self._written) - 1
        while self._written[place] == 0xFF:
            self._written[place] = 0
            place -= 1
        self._written[place] += 1
        self._low &= _MASK


class RangeDecoder:
    """Reads the symbols that a ``RangeEncoder`` wrote; of other bytes it makes some symbols."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._place = _START_BYTES
        self._code = int.from_bytes(content[:_START_BYTES].ljust(_START_BYTES, b"\0"), "big")
        self._range = _MASK

    def code_bit(self, bit: int, chance: int) -> int:
        """Reads a bit."""
        bound = (self._range >> RESOLUTION) * chance
        if self._code < bound:
            self._range = bound
            bit = 1
        else:
            self._code -= bound
            self._range -= bound
            bit = 0
        self._settle()
        return bit

    def code_symbol(self, symbol: int, starts: Sequence[int], frequencies: Sequence[int]) -> int:
        """Reads a symbol."""
        step = self._range >> RESOLUTION
        symbol = bisect_right(starts, min(self._code // step, _TOTAL - 1)) - 1
        self._code -= step * starts[symbol]
        self._range = step * frequencies[symbol]
        self._settle()
        return symbol

    def _settle(self) -> None:
        while self._range < _TOP:
            self._range <<= 8
            byte = self._content[self._place] if self._place < len(self._content) else 0
            self._code = (self._code << 8 | byte) & _MASK
            self._place += 1
