"""Codes the head of a container: the bytes of an ONNX file without its weights.

Knows bytes, and which ones followed others; what they say is nobody's business here.

If the last three bytes were there before, a bit says whether what followed them then follows now.
Otherwise the byte is coded bit by bit. Each bit is foretold by mixing (``bit_mixing``) what was
seen of it after the part of the byte so far, together with the last bytes: none, one, two, the two
before the last, and those that lie four and eight bytes back, as in a row of floats. Graphs are
much alike, so the models first read some (``typical_files``).
"""

from collections.abc import Sequence
from functools import cache

from model_compression.deployment.bit_mixing import Mixer
from model_compression.deployment.range_coder import Coder
from model_compression.deployment.typical_files import typical_heads

LARGEST_HEAD = 1 << 15
"""Bytes above which a head would take seconds."""
_RATE, _WEIGHT, _GUESS_WEIGHT = 16, 14000, 25000
_LIMIT = 255
_HASH_BITS = 16
_HASHES = 1 << _HASH_BITS
_MASK = _HASHES - 1
_SPREAD, _WORD_BITS = 0x9E3779B97F4A7C15, 64
"""2^64 by the golden ratio: what it multiplies is spread over the highest of 64 bits."""
_PART_SPREAD = 40503
"""Likewise for the part of a byte, of 2^16."""
_ALIKE = 3
"""Bytes that have to be alike for what followed them to be expected."""
_LONGEST = 32
"""Expectations in a row that came true; more are taken for as many."""
_REMEMBERED = 8
"""Bytes before the first, all 0."""


def code_head(coder: Coder, head: bytes | None, size: int) -> bytes:
    """Codes a head, or reads one.

    Args:
        coder: Writes or reads.
        head: To be written; None where it is read.
        size: Its bytes.

    Returns:
        The head.
    """
    model = _taught().copied()
    return bytes(model.code(coder, 0 if head is None else head[place]) for place in range(size))


@cache
def _taught() -> "_Bytes":
    model, nobody = _Bytes(), _Nobody()
    for head in typical_heads():
        for byte in head:
            model.code(nobody, byte)
    return model


class _Nobody:
    """Codes what both sides know: nothing is written."""

    def code_bit(self, bit: int, chance: int) -> int:
        """The bit."""
        return bit

    def code_symbol(self, symbol: int, starts: Sequence[int], frequencies: Sequence[int]) -> int:
        """The symbol."""
        return symbol


class _Bytes:
    """Foretells bytes from those before them."""

    def __init__(self) -> None:
        self._history = bytearray(_REMEMBERED)
        self._byte = Mixer(
            (256, 1 << 16, *[_HASHES] * 4, 32), limit=_LIMIT, rate=_RATE, weight=_WEIGHT
        )
        self._guess = Mixer(
            (_LONGEST + 1, 1 << 16, _HASHES, _HASHES),
            limit=_LIMIT,
            rate=_RATE,
            weight=_GUESS_WEIGHT,
        )
        self._places: dict[bytes, int] = {}
        """Where it went on after bytes that are alike, the last time."""
        self._expected = 0
        """The place of the byte that is expected; 0 for none."""
        self._in_a_row = 0

    def copied(self) -> "_Bytes":
        """Another that has read the same, and reads on by itself."""
        other = _Bytes()
        other._history = self._history.copy()
        other._byte, other._guess = self._byte.copied(), self._guess.copied()
        other._places = self._places.copy()
        other._expected, other._in_a_row = self._expected, self._in_a_row
        return other

    def code(self, coder: Coder, byte: int) -> int:
        """Codes the next byte.

        Args:
            coder: Writes or reads.
            byte: What to write; of no meaning to a coder that reads.
        """
        last = int.from_bytes(self._history[-_REMEMBERED:], "big")
        expected = self._history[self._expected] if self._expected else None
        if expected is not None:
            contexts = (
                min(self._in_a_row, _LONGEST),
                (last & 0xFF) << 8 | expected,
                _hashed((last & 0xFFFFFF) << 8 | expected, 0),
                _hashed((last & 0xFFFFFFFFFFFF) << 8 | expected, 1),
            )
            if self._guess.code(coder, contexts, int(byte == expected)):
                self._learn(expected)
                return expected
        byte = self._code_bits(coder, byte, last, expected)
        self._learn(byte)
        return byte

    def _code_bits(self, coder: Coder, byte: int, last: int, expected: int | None) -> int:
        one = (last & 0xFF) << 8
        two = _hashed(last & 0xFFFF, 2)
        before = _hashed(last & 0xFFFF00, 3)
        above = _hashed(last & 0xFF000000, 4)
        twice_above = _hashed(last & 0xFF000000FF000000, 5)
        unexpected = 0 if expected is None else 256 | expected
        part = 1
        for place in range(7, -1, -1):
            spread = part * _PART_SPREAD
            # The byte is another than the expected one, which is known until they part.
            known = 0
            if unexpected and unexpected >> place + 1 == part:
                known = place << 2 | 2 | unexpected >> place & 1
            contexts = (
                part,
                one | part,
                two + spread & _MASK,
                before + spread & _MASK,
                above + spread & _MASK,
                twice_above + spread & _MASK,
                known,
            )
            part = part << 1 | self._byte.code(coder, contexts, byte >> place & 1)
        return part & 0xFF

    def _learn(self, byte: int) -> None:
        history = self._history
        came_true = self._expected > 0 and history[self._expected] == byte
        history.append(byte)
        alike = bytes(history[-_ALIKE:])
        if came_true:
            self._expected += 1
            self._in_a_row += 1
        else:
            self._expected = self._places.get(alike, 0)
            self._in_a_row = 0
        self._places[alike] = len(history)


def _hashed(context: int, kind: int) -> int:
    """A context of at most 64 bits, as one of ``_HASHES``; apart from those of another kind."""
    spread = (context + kind) * _SPREAD & (1 << _WORD_BITS) - 1
    return spread >> _WORD_BITS - _HASH_BITS
