"""A container for an ONNX file: smaller on its way, the very same file at its end.

Knows the layout below and where a file's weights are; how they are coded is ``tensor_cuts``'
business.

    bytes     what
    8         "MCPACK", the version of the layout (1), a line feed
    16        BLAKE2b, 16 bytes long, of all that follows here and then of the ONNX file
    varint    bytes of the ONNX file
    varint    bytes of the head
    varint    bytes of the head as the Zstandard frame that follows
    ...       the head
    ...       the streams of the cuts, one after the other

The head holds the number of cuts, the cuts, and what the file is without what was cut out of it. A
cut is the number of bytes of that rest before it, its kind, its fields, its table, and the length
of its stream. Numbers are varints (LEB128: seven bits a byte, the lowest first).

Unpacking ends soon, whatever it is given: the file may be 256 times as large as the container, plus
a mebibyte, and 2^24 symbols may be coded one by one. What would shrink further ends in zeros.
"""

import hashlib
import math
from collections.abc import Iterator

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto

from model_compression.deployment.tensor_cuts import (
    ELEMENT_BYTES,
    FIELDS,
    WORD,
    WORDS,
    Cut,
    cut_bytes,
    cut_parts,
    cut_words,
    deflate,
    inflate,
    restore,
    symbols_in,
)

_MAGIC = b"MCPACK\x01\n"
_DIGEST_SIZE = 16
_LARGEST_RATIO, _SLACK = 256, 1 << 20
_MOST_SYMBOLS = 1 << 24
_SHORTEST = 64
"""Bytes of a tensor below which a cut costs more than it saves."""
_LONGEST_VARINT = 9


class PackingError(ValueError):
    """A container that is damaged or none, or a file that can't be packed."""


def packed_size(content: bytes) -> int:
    """Bytes of the container of an ONNX file: what a download of it costs.

    Raises:
        PackingError: If it is no ONNX file.
    """
    return len(pack(content))


def pack(content: bytes) -> bytes:
    """The container of an ONNX file.

    Args:
        content: The file, byte by byte.

    Raises:
        PackingError: If it is no ONNX file.
    """
    plan, rest = bytearray(), bytearray()
    streams = []
    end = symbols = 0
    for place, tensor in _weights(content):
        cut = _cut(tensor, _MOST_SYMBOLS - symbols)
        if cut is None:
            continue
        symbols += symbols_in(cut.kind, cut.fields)
        plan += _varint(place - end) + bytes([cut.kind])
        plan += b"".join(map(_varint, cut.fields)) + cut.table + _varint(len(cut.stream))
        rest += content[end:place]
        streams.append(cut.stream)
        end = place + len(tensor.raw_data)
    head = _varint(len(streams)) + plan + rest + content[end:]
    frame = deflate(head)
    sizes = b"".join(map(_varint, (len(content), len(head), len(frame))))
    fewest = _fewest(max(len(content), len(head))) - len(_MAGIC) - _DIGEST_SIZE
    body = b"".join([sizes, frame, *streams]).ljust(fewest, b"\0")
    return _MAGIC + _digest(body, content) + body


def unpack(packed: bytes) -> bytes:
    """The very file that was packed.

    Raises:
        PackingError: If the container is truncated, altered, of another version, or none.
    """
    if packed[: len(_MAGIC)] != _MAGIC:
        raise PackingError(
            f"Expected a container that begins with {_MAGIC!r}; got {packed[: len(_MAGIC)]!r}: it "
            "is none, or of a version that this release does not know."
        )
    try:
        reader = _Reader(packed, len(_MAGIC))
        digest = reader.take(_DIGEST_SIZE)
        size, head_size = reader.varint(), reader.varint()
        if len(packed) < _fewest(max(size, head_size)):
            raise ValueError(f"{len(packed)} bytes may not hold {max(size, head_size)}")
        content = _put_together(inflate(reader.take(reader.varint()), head_size), reader, size)
        body = packed[len(_MAGIC) + _DIGEST_SIZE :]
        if len(content) != size or _digest(body, content) != digest:
            raise ValueError("the checksum does not fit what is in it")
    except ValueError as error:
        raise PackingError(
            f"The container is truncated or altered: {error}. Get it again from where it came from."
        ) from error
    return content


def _put_together(head: bytes, streams: "_Reader", size: int) -> bytes:
    """The file; nothing is decoded before all that is to be decoded was found to be allowed."""
    reader = _Reader(head, 0)
    planned = []
    room, symbols = size, 0
    for _ in range(reader.varint()):
        gap = reader.varint()
        (kind,) = reader.take(1)
        if kind not in FIELDS:
            raise ValueError(f"there is no cut of kind {kind}")
        fields = tuple(reader.varint() for _ in range(FIELDS[kind]))
        table = reader.take(WORD.itemsize * fields[1]) if kind == WORDS else b""
        planned.append((gap, Cut(kind, fields, table, b""), reader.varint()))
        if fields[0] * ELEMENT_BYTES[kind] < _SHORTEST:
            raise ValueError(f"a cut of {fields[0]} elements is never made")
        room -= fields[0] * ELEMENT_BYTES[kind]
        symbols += symbols_in(kind, fields)
        if room < 0 or symbols > _MOST_SYMBOLS:
            raise ValueError(f"more elements are announced than {size} bytes may have")
    content = bytearray()
    for gap, cut, length in planned:
        content += reader.take(gap)
        content += restore(cut._replace(stream=streams.take(length)))
    return bytes(content + reader.rest())


def _weights(content: bytes) -> Iterator[tuple[int, TensorProto]]:
    """The tensors that may be worth a cut, with where their bytes are in the file."""
    try:
        model = onnx.load_model_from_string(content)
    except DecodeError as error:
        raise PackingError(
            f"Expected an ONNX file to pack; {len(content)} bytes that are none came."
        ) from error
    if not model.HasField("graph"):
        raise PackingError(
            f"Expected an ONNX file to pack; {len(content)} bytes without a graph came."
        )
    end = 0
    for tensor in model.graph.initializer:
        if len(tensor.raw_data) >= _SHORTEST:
            # Protobuf keeps the order of what repeats, so each lies behind the one before.
            place = content.find(tensor.raw_data, end)
            if place >= 0:
                yield place, tensor
                end = place + len(tensor.raw_data)


def _cut(tensor: TensorProto, budget: int) -> Cut | None:
    """The tensor, coded with at most so many symbols; ``None`` where that is not worth it."""
    count = math.prod(tensor.dims)
    bits = _PART_BITS.get(tensor.data_type)
    if bits is not None:
        size = len(tensor.raw_data)
        if min(tensor.dims) < 0 or size != -(-count * bits // 8) or size * (8 // bits) > budget:
            return None
        return cut_parts(tensor.raw_data, bits, math.prod(tensor.dims[2:]))
    itemsize = _ITEMSIZES.get(tensor.data_type)
    if itemsize is None or count > budget or count * itemsize != len(tensor.raw_data):
        return None
    if min(tensor.dims) < 0:
        return None
    kernel = math.prod(tensor.dims[2:])
    if itemsize == 1:
        return cut_bytes(tensor.raw_data, tensor.data_type == TensorProto.INT8, kernel)
    return cut_words(tensor.raw_data, tensor.data_type == TensorProto.FLOAT, kernel)


_ITEMSIZES: dict[int, int] = {
    TensorProto.INT8: 1,
    TensorProto.UINT8: 1,
    TensorProto.FLOAT: 4,
    TensorProto.INT32: 4,
}
"""Of the types that are coded."""

_PART_BITS: dict[int, int] = {
    TensorProto.INT4: 4,
    TensorProto.UINT4: 4,
    TensorProto.INT2: 2,
    TensorProto.UINT2: 2,
}
"""Of the types of which several numbers share a byte."""


def _digest(body: bytes, content: bytes) -> bytes:
    return hashlib.blake2b(body + content, digest_size=_DIGEST_SIZE).digest()


def _fewest(size: int) -> int:
    """The bytes that a container of so many bytes has to have."""
    return max(0, -(-(size - _SLACK) // _LARGEST_RATIO))


def _varint(number: int) -> bytes:
    low = bytearray()
    while number > 0x7F:
        low.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*low, number])


class _Reader:
    """Takes bytes and numbers one after the other, and never more than there are."""

    def __init__(self, content: bytes, place: int) -> None:
        self._content = content
        self._place = place

    def take(self, count: int) -> bytes:
        if count > len(self._content) - self._place:
            raise ValueError("it ends too early")
        self._place += count
        return self._content[self._place - count : self._place]

    def varint(self) -> int:
        number = 0
        for place in range(_LONGEST_VARINT):
            (byte,) = self.take(1)
            number |= (byte & 0x7F) << 7 * place
            if byte < 0x80:
                return number
        raise ValueError("a number is too long")

    def rest(self) -> bytes:
        return self.take(len(self._content) - self._place)
