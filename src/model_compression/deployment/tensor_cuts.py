"""Five ways to code the bytes of a tensor, and back.

Knows arrays of bytes and of words (four bytes, little-endian); what surrounds them is the
container's business (``packing``). Whatever is damaged ends in a ``ValueError``.

    kind      fields                                   stream
    0 bytes   count, size, zero, stride, lowest        each byte less ``lowest``, modulo 256
    1 words   count, size, zero, stride                places in the table, which is ``size`` words
    2 floats  count, stride, length                    0 for a word of 0, or else its exponent + 1,
                                                       ``length`` bytes; then of each other word
                                                       3 bytes: the mantissa with the sign on top
    3 planes  count, length                            the third and the fourth bytes of all words,
                                                       a Zstandard frame of ``length`` bytes; then
                                                       the first and the second ones, as they are
    4 parts   count, size, zero, stride, bits          ``bits`` of each byte at a time, the lowest
                                                       first: 2 or 4, numbers that share a byte

``weight_coding`` codes the numbers of all but the planes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import zstandard
from numpy.typing import NDArray

from model_compression.deployment.weight_coding import decode_symbols, encode_symbols

BYTES, WORDS, FLOATS, PLANES, PARTS = range(5)
FIELDS = {BYTES: 5, WORDS: 4, FLOATS: 3, PLANES: 2, PARTS: 5}
"""How many numbers say how a stretch was coded, the first of them the count of its elements."""
ELEMENT_BYTES = {BYTES: 1, WORDS: 4, FLOATS: 4, PLANES: 4, PARTS: 1}
"""What one element takes in the file."""
WORD = np.dtype("<u4")
PART_BITS = (2, 4)
"""Of numbers that share a byte."""

_UNKNOWN_SIZE = -1
_LEVEL = 22
"""Zstandard's strongest: a file is packed once and sent often."""
_LARGEST_TABLE = 256
_EXPONENTS = 257
"""All of a byte, and the word that is 0."""
_SPARSE = 0.1
"""Share of zeros from which on it pays to code them one by one."""


class Cut(NamedTuple):
    """A stretch of a file, coded."""

    kind: int
    fields: tuple[int, ...]
    table: bytes
    stream: bytes

    @property
    def size(self) -> int:
        """About its bytes in a container."""
        return 2 * len(self.fields) + len(self.table) + len(self.stream)


def cut_bytes(raw: bytes, signed: bool, stride: int) -> Cut | None:
    """Codes the elements of a tensor of bytes; ``None`` where Zstandard alone does as well.

    Args:
        raw: The tensor.
        signed: Whether a byte's highest bit is its sign.
        stride: Elements from one to its neighbour in another kernel.
    """
    values = np.frombuffer(raw, dtype=np.int8 if signed else np.uint8).astype(np.int64)
    lowest = int(values.min())
    symbols = values - lowest
    size, zero = int(symbols.max()) + 1, _commonest(symbols)
    stream = encode_symbols(symbols.tolist(), size, zero, stride)
    return _if_shorter(
        Cut(BYTES, (len(symbols), size, zero, stride, lowest % 256), b"", stream), raw
    )


def cut_parts(raw: bytes, bits: int, stride: int) -> Cut | None:
    """Codes numbers of a few bits that share bytes; ``None`` where Zstandard alone does as well.

    Args:
        raw: The tensor, the lowest bits of a byte first; a number's bits are taken as they are.
        bits: 2 or 4.
        stride: Numbers from one to its neighbour in another kernel.
    """
    symbols = _parts(np.frombuffer(raw, dtype=np.uint8), bits)
    zero, size = _commonest(symbols), 1 << bits
    stream = encode_symbols(symbols.tolist(), size, zero, stride)
    return _if_shorter(Cut(PARTS, (len(raw), size, zero, stride, bits), b"", stream), raw)


def cut_words(raw: bytes, is_float: bool, stride: int) -> Cut | None:
    """Codes the elements of a tensor of words; ``None`` where Zstandard alone does as well."""
    words = np.frombuffer(raw, dtype=WORD)
    table = _table(words)
    if table is not None:
        symbols = np.searchsorted(table, words)
        zero = _commonest(symbols)
        stream = encode_symbols(symbols.tolist(), len(table), zero, stride)
        cut = Cut(WORDS, (len(words), len(table), zero, stride), table.tobytes(), stream)
    elif is_float and np.count_nonzero(words == 0) >= _SPARSE * len(words):
        cut = _cut_floats(words, stride)
    elif is_float:
        planes = words.view(np.uint8).reshape(-1, 4)
        high = deflate(planes[:, 2:].T.tobytes())
        cut = Cut(PLANES, (len(words), len(high)), b"", high + planes[:, :2].T.tobytes())
    else:
        return None
    return _if_shorter(cut, raw)


def restore(cut: Cut) -> bytes:
    """The bytes that were cut.

    Raises:
        ValueError: If the cut is not one that this module has made.
    """
    count = cut.fields[0]
    if cut.kind == BYTES:
        _, size, zero, stride, lowest = cut.fields
        symbols = _decode(cut.stream, count, size, zero, stride)
        return ((symbols + lowest) % 256).astype(np.uint8).tobytes()
    if cut.kind == WORDS:
        _, size, zero, stride = cut.fields
        symbols = _decode(cut.stream, count, size, zero, stride)
        return np.frombuffer(cut.table, dtype=WORD)[symbols].tobytes()
    if cut.kind == PARTS:
        _, size, zero, stride, bits = cut.fields
        symbols = _decode(cut.stream, symbols_in(PARTS, cut.fields), size, zero, stride)
        if size != 1 << bits:
            raise ValueError(f"parts of {bits} bits are never of {size} kinds")
        places = np.arange(0, 8, bits)
        whole: NDArray[np.int64] = (symbols.reshape(count, -1) << places).sum(axis=1)
        return whole.astype(np.uint8).tobytes()
    if cut.kind == FLOATS:
        return _restore_floats(cut)
    _, length = cut.fields
    high = np.frombuffer(inflate(cut.stream[:length], 2 * count), dtype=np.uint8)
    low = np.frombuffer(cut.stream[length:], dtype=np.uint8)
    return np.concatenate([low.reshape(2, count), high.reshape(2, count)]).T.tobytes()


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


def _cut_floats(words: NDArray[np.uint32], stride: int) -> Cut:
    symbols = np.where(words == 0, 0, (words >> 23 & 0xFF) + 1)
    stream = encode_symbols(symbols.tolist(), _EXPONENTS, 0, stride)
    others = words[words != 0]
    rest = (others & 0x7FFFFF | (others >> 31) << 23).astype(WORD)
    mantissas = rest.view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    return Cut(FLOATS, (len(words), stride, len(stream)), b"", stream + mantissas)


def _restore_floats(cut: Cut) -> bytes:
    count, stride, length = cut.fields
    symbols = _decode(cut.stream[:length], count, _EXPONENTS, 0, stride)
    is_other = symbols > 0
    mantissas = np.frombuffer(cut.stream[length:], dtype=np.uint8)
    rest = np.zeros((int(is_other.sum()), 4), dtype=np.uint8)
    rest[:, :3] = mantissas.reshape(len(rest), 3)
    others = rest.reshape(-1).view(WORD)
    words = np.zeros(count, dtype=WORD)
    exponents = (symbols[is_other] - 1).astype(WORD)
    words[is_other] = others & 0x7FFFFF | exponents << 23 | (others >> 23) << 31
    return words.tobytes()


def _decode(stream: bytes, count: int, size: int, zero: int, stride: int) -> NDArray[np.int64]:
    if not (0 < size <= _EXPONENTS and zero < size and stride <= max(count, 1)):
        raise ValueError(f"symbols of size {size}, zero {zero} and stride {stride} are never coded")
    return decode_symbols(stream, count, size, zero, stride)


def _table(words: NDArray[np.uint32]) -> NDArray[np.uint32] | None:
    """The values of words among which few are different; ``None`` where many are."""
    most = min(_LARGEST_TABLE, len(words) // 4)
    # A look at the first of them spares sorting all.
    if len(np.unique(words[: 2 * _LARGEST_TABLE])) > most:
        return None
    values = np.unique(words)
    return values if len(values) <= most else None


def _parts(content: NDArray[np.uint8], bits: int) -> NDArray[np.int64]:
    places = np.arange(0, 8, bits)
    return (content[:, None].astype(np.int64) >> places & (1 << bits) - 1).reshape(-1)


def _commonest(symbols: NDArray[np.int64]) -> int:
    return int(np.bincount(symbols).argmax())


def _if_shorter(cut: Cut, raw: bytes) -> Cut | None:
    return cut if cut.size < len(deflate(raw)) else None


def symbols_in(kind: int, fields: Sequence[int]) -> int:
    """How many symbols are coded one by one, which is what takes time.

    Raises:
        ValueError: If the fields are none that this module writes.
    """
    if kind == PARTS:
        if fields[4] not in PART_BITS:
            raise ValueError(f"parts of {fields[4]} bits are never coded")
        return fields[0] * (8 // fields[4])
    return 0 if kind == PLANES else fields[0]
