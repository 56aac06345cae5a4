"""Range coding (Martin, 1979): symbols become bytes, few for the likely ones.

Knows intervals of probabilities in whole numbers; which symbol has which is a model's business. All
arithmetic is in integers, so what one machine encodes any other decodes.

With a range r of 32 bits, a symbol whose frequency is f of 2^b, the frequencies before it adding up
to s, narrows the interval to low + (r >> b) · s and r = (r >> b) · f. Whenever r falls below 2^24,
the highest byte of low is settled and written; a carry out of low goes into the bytes that wait.
"""

_TOP = 1 << 24
_MASK = (1 << 32) - 1
_START_BYTES = 4

RESOLUTION = 15
"""b: frequencies of a model add up to 2^b."""


class RangeEncoder:
    """Writes symbols, one after the other."""

    def __init__(self) -> None:
        self._low = 0
        self._range = _MASK
        self._written = bytearray()

    def encode(self, start: int, frequency: int) -> None:
        """Writes one symbol.

        Args:
            start: The frequencies before the symbol's, in [0, 2^RESOLUTION).
            frequency: Its own, at least 1; both together are at most 2^RESOLUTION.
        """
        step = self._range >> RESOLUTION
        self._low += step * start
        self._range = step * frequency
        while self._range < _TOP:
            self._range <<= 8
            self._shift()

    def finish(self) -> bytes:
        """The bytes; trailing zeros are left out, since a decoder reads zeros past the end."""
        for _ in range(_START_BYTES):
            self._shift()
        return bytes(self._written.rstrip(b"\0"))

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

    def target(self) -> int:
        """Where among the 2^RESOLUTION frequencies the next symbol is."""
        return min((self._code // (self._range >> RESOLUTION)), (1 << RESOLUTION) - 1)

    def consume(self, start: int, frequency: int) -> None:
        """Goes past the symbol with this interval, the one that ``target`` lies in."""
        step = self._range >> RESOLUTION
        self._code -= step * start
        self._range = step * frequency
        while self._range < _TOP:
            self._range <<= 8
            byte = self._content[self._place] if self._place < len(self._content) else 0
            self._code = (self._code << 8 | byte) & _MASK
            self._place += 1
