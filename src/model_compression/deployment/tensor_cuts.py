"""Seven ways to take the bytes of a tensor apart, and back.

Knows arrays of bytes, of numbers that share bytes, and of words (four bytes, little-endian); what
surrounds them is the container's business (``packing``), how numbers are coded ``weight_coding``'s.
Whatever is damaged ends in a ``ValueError``.

    kind        fields            numbers                                  bytes as they are
    0 bytes     lie, lowest       each byte less ``lowest``, modulo 256
    1 halves    lie, lowest       each four bits of a byte, the lowest
                                  first, less ``lowest``, modulo 16
    2 quarters  lie, lowest       each two bits, likewise, modulo 4
    3 words     lie               places in the table, which is
                                  ``size`` words
    4 floats    lie               0 for a word of 0, or else its           of each other word 3: its
                                  exponent + 1                             mantissa, the sign on top
    5 planes    count, length                                              the third and the fourth
                                                                           bytes of all words, in a
                                                                           Zstandard frame of
                                                                           ``length`` bytes; then
                                                                           the first and the second
    6 others    count, length                                              a Zstandard frame of
                                                                           ``length`` bytes; or, if
                                                                           that is 0, all bytes

The lie is the count of the numbers and the five of ``weight_coding.Lie``.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import zstandard
from numpy.typing import NDArray

from model_compression.deployment.weight_coding import Lie, bits_to_mix, mixed_bytes

BYTES, HALVES, QUARTERS, WORDS, FLOATS, PLANES, OTHERS = range(7)
FIELDS = {BYTES: 7, HALVES: 7, QUARTERS: 7, WORDS: 6, FLOATS: 6, PLANES: 2, OTHERS: 2}
"""How many numbers say how a stretch was cut, the first of them the count of its elements."""
BITS = {BYTES: 8, HALVES: 4, QUARTERS: 2, WORDS: 32, FLOATS: 32, PLANES: 32, OTHERS: 8}
"""What one element takes in the file."""
WORD = np.dtype("<u4")

_UNKNOWN_SIZE = -1
_LEVEL = 22
"""Zstandard's strongest: a file is packed once and sent often."""
_LARGEST_TABLE = 256
_EXPONENTS = 257
"""All of a byte, and the word that is 0."""
_SPARSE = 0.1
"""Share of zeros from which on it pays to code them one by one."""
_MOST_TO_TRY = 1 << 18
"""Bits that are mixed to see whether it pays: about two seconds."""
_CUT_BYTES = 12
"""About what it takes to say how a stretch was cut."""
_WIDEST = 64
_ROWS_TO_COMPARE, _LOOKED_AT = 16, 1 << 18


class Cut(NamedTuple):
    """A stretch of a file, taken apart."""

    kind: int
    fields: tuple[int, ...]
    table: bytes = b""
    numbers: NDArray[np.int64] | None = None
    rest: bytes = b""

    @property
    def lie(self) -> Lie:
        """How the numbers lie."""
        return Lie(*self.fields[1:6])

    def check_lie(self) -> None:
        """Raises a ValueError if numbers never lie as this cut says."""
        count, (size, zero, row, kernel, width) = self.fields[0], self.lie
        if not (zero < size <= _EXPONENTS and 0 < kernel <= row <= count and 0 < width <= row):
            raise ValueError(f"numbers never lie as {self.fields} says")


def file_bytes(kind: int, count: int) -> int:
    """What so many elements take in the file."""
    return -(-count * BITS[kind] // 8)


def cut_integers(raw: bytes, kind: int, signed: bool, dims: Sequence[int]) -> Cut:
    """Cuts a tensor of 8, 4 or 2-bit integers, or as others where that is shorter.

    Args:
        raw: The tensor.
        kind: BYTES, HALVES or QUARTERS.
        signed: Whether an element's highest bit is its sign.
        dims: Of the tensor.
    """
    others = cut_others(raw)
    count, bits = int(np.prod(dims)), BITS[kind]
    values = _parts(raw, bits)[:count]
    if _joined(values, bits) != raw:
        return others
    half = 1 << bits - 1
    values = (values + half) % (2 * half) - half if signed else values
    lowest = int(values.min())
    cut = _with_lie(kind, values - lowest, dims, (lowest % (2 * half),))
    return cut if _is_shorter(cut, others) else others


def cut_words(raw: bytes, is_float: bool, dims: Sequence[int]) -> Cut:
    """Cuts a tensor of words, or as others where that is shorter."""
    others = cut_others(raw)
    words = np.frombuffer(raw, dtype=WORD)
    table = _table(words)
    if table is not None:
        cut = _with_lie(WORDS, np.searchsorted(table, words), dims)
        # The table has all its values, the numbers too, so both are of one size.
        cut = cut._replace(table=table.tobytes())
    elif is_float and np.count_nonzero(words == 0) >= _SPARSE * len(words):
        cut = _cut_floats(words, dims)
    elif is_float:
        planes = words.view(np.uint8).reshape(-1, 4)
        high = deflate(planes[:, 2:].T.tobytes())
        cut = Cut(PLANES, (len(words), len(high)), rest=high + planes[:, :2].T.tobytes())
    else:
        return others
    return cut if _is_shorter(cut, others) else others


def cut_others(raw: bytes) -> Cut:
    """Cuts bytes of which nothing is known."""
    frame = deflate(raw)
    shorter = len(frame) < len(raw)
    return Cut(OTHERS, (len(raw), len(frame) if shorter else 0), rest=frame if shorter else raw)


def restore(cut: Cut, take: Callable[[int], bytes]) -> bytes:
    """The bytes that were cut.

    Args:
        cut: What is known of it, with its numbers.
        take: Gives the next so many of the bytes as they are.

    Raises:
        ValueError: If the cut is not one that this module has made.
    """
    count, numbers = cut.fields[0], cut.numbers
    if cut.kind == OTHERS:
        length = cut.fields[1]
        return inflate(take(length), count) if length else take(count)
    if numbers is None:
        length = cut.fields[1]
        high = np.frombuffer(inflate(take(length), 2 * count), dtype=np.uint8)
        low = np.frombuffer(take(2 * count), dtype=np.uint8)
        return np.concatenate([low.reshape(2, count), high.reshape(2, count)]).T.tobytes()
    if cut.kind == WORDS:
        return np.frombuffer(cut.table, dtype=WORD)[numbers].tobytes()
    if cut.kind == FLOATS:
        return _restore_floats(numbers, take)
    bits, lowest = BITS[cut.kind], cut.fields[6]
    return _joined((numbers + lowest) % (1 << bits), bits)


def deflate(content: bytes) -> bytes:
    """A Zstandard frame."""
    return zstandard.ZstdCompressor(level=_LEVEL, write_content_size=False).compress(content)


def inflate(frame: bytes, size: int) -> bytes:
    """What is in a Zstandard frame.

    Raises:
        ValueError: If it is none, or holds another number of bytes than ``size``.
    """
    try:
        # A frame that announces its size would be believed, whatever the limit.
        if zstandard.frame_content_size(frame) != _UNKNOWN_SIZE:
            raise ValueError("a frame announces its size, which is never written")
        content = zstandard.ZstdDecompressor().decompress(frame, max_output_size=size + 1)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error
    if len(content) != size:
        raise ValueError(f"a frame holds {len(content)} bytes where {size} are expected")
    return content


def _with_lie(
    kind: int, numbers: NDArray[np.int64], dims: Sequence[int], more: tuple[int, ...] = ()
) -> Cut:
    counts = np.bincount(numbers)
    zero = int(counts.argmax())
    row = int(np.prod(dims[1:])) if len(dims) > 1 else len(numbers)
    kernel = int(np.prod(dims[2:]))
    width = int(dims[-1]) if kernel > 1 else _width(numbers != zero, row)
    return Cut(kind, (len(numbers), len(counts), zero, row, kernel, width, *more), numbers=numbers)


def _width(others: NDArray[np.bool_], row: int) -> int:
    """How far apart pixels are that lie one below the other, by where weights are no zeros."""
    rows = min(len(others), _LOOKED_AT) // row
    if rows < _ROWS_TO_COMPARE or row <= _WIDEST:
        return 1
    centred = others[: rows * row].reshape(rows, row) - others[: rows * row].mean()
    alike = [(centred[:, apart:] * centred[:, :-apart]).mean() for apart in range(2, _WIDEST)]
    return 2 + int(np.argmax(alike))


def _is_shorter(cut: Cut, others: Cut) -> bool:
    """Whether a cut takes less than the same bytes cut as others."""
    size = len(others.rest) - len(cut.table) - len(cut.rest) - _CUT_BYTES
    if cut.numbers is None or _coded_bytes(cut.numbers) < size:
        return size > 0
    # Mixing may find more than the shares of the numbers tell, and more than Zstandard does.
    bits = bits_to_mix(cut.numbers, cut.lie)
    return bits is not None and bits <= _MOST_TO_TRY and mixed_bytes(cut.numbers, cut.lie) < size


def _coded_bytes(numbers: NDArray[np.int64]) -> int:
    """About what numbers take, each coded by its share of all, which has to be learned too."""
    counts = np.bincount(numbers)
    counts = counts[counts > 0]
    bits = -(counts * np.log2(counts / len(numbers))).sum()
    # Of what it costs to learn the shares, half: a tensor before may have taught them.
    learned = (len(counts) - 1) * math.log2(len(numbers)) / 4
    return int((bits + learned) / 8)


def _cut_floats(words: NDArray[np.uint32], dims: Sequence[int]) -> Cut:
    numbers = np.where(words == 0, 0, (words >> 23 & 0xFF) + 1).astype(np.int64)
    others = words[words != 0]
    rest = (others & 0x7FFFFF | (others >> 31) << 23).astype(WORD)
    mantissas = rest.view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    return _with_lie(FLOATS, numbers, dims)._replace(rest=mantissas)


def _restore_floats(numbers: NDArray[np.int64], take: Callable[[int], bytes]) -> bytes:
    is_other = numbers > 0
    count = int(is_other.sum())
    rest = np.zeros((count, 4), dtype=np.uint8)
    rest[:, :3] = np.frombuffer(take(3 * count), dtype=np.uint8).reshape(count, 3)
    others = rest.reshape(-1).view(WORD)
    words = np.zeros(len(numbers), dtype=WORD)
    exponents = (numbers[is_other] - 1).astype(WORD)
    words[is_other] = others & 0x7FFFFF | exponents << 23 | (others >> 23) << 31
    return words.tobytes()


def _parts(raw: bytes, bits: int) -> NDArray[np.int64]:
    """The numbers that share the bytes, the lowest bits of each first."""
    content = np.frombuffer(raw, dtype=np.uint8).astype(np.int64)
    return (content[:, None] >> np.arange(0, 8, bits) & (1 << bits) - 1).reshape(-1)


def _joined(numbers: NDArray[np.int64], bits: int) -> bytes:
    each = 8 // bits
    padded = np.pad(numbers % (1 << bits), (0, -len(numbers) % each)).reshape(-1, each)
    joined = (padded << np.arange(0, 8, bits)).sum(axis=1).astype(np.uint8)
    return bytes(joined.tobytes())


def _table(words: NDArray[np.uint32]) -> NDArray[np.uint32] | None:
    """The values of words among which few are different; ``None`` where many are."""
    most = min(_LARGEST_TABLE, len(words) // 4)
    # A look at the first of them spares sorting all.
    if len(np.unique(words[: 2 * _LARGEST_TABLE])) > most:
        return None
    values = np.unique(words)
    return values if len(values) <= most else None
