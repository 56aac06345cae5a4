"""A container for an ONNX file: smaller on its way, the very same file at its end.

Knows the layout below and where a file's weights are; how they are taken apart is ``tensor_cuts``'
business, how numbers and bytes are coded ``weight_coding``'s and ``head_coding``'s.

    bytes     what
    8         "MCPACK", the version of the layout (2), a line feed
    8         BLAKE2b, 8 bytes long, of all that follows here and then of the ONNX file
    varint    bytes of the ONNX file
    varint    bytes of the head
    varint    bytes of the head as a Zstandard frame; 0 where it is coded with the numbers
    varint    bytes of the coded numbers
    ...       the head as a Zstandard frame
    ...       coded one after the other by one range coder: the head, the numbers of the cuts
    ...       of the cuts, one after the other, the bytes as they are

The head holds the number of cuts, the cuts, and what the file is without what was cut out of it. A
cut is the number of bytes of that rest before it, twice its kind (plus one where its numbers are
coded by mixing), its fields and its table. Numbers are varints (LEB128: seven bits a byte, the
lowest first).

Unpacking ends soon, whatever it is given: the file may be 256 times as large as the container, plus
a mebibyte; a coded head 32 times; 1024 bits a byte, plus 2^18, may be coded by mixing, at most
2^21; and 64 numbers a byte, plus 2^18, by frequency, at most 2^24. A tensor counts for 256 more
than it has. What would shrink further ends in zeros; what has more numbers than may be coded is
left to the head.
"""

import hashlib
import math
from collections.abc import Iterator

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto

from model_compression.deployment.head_coding import LARGEST_HEAD, code_head
from model_compression.deployment.range_coder import RangeDecoder, RangeEncoder
from model_compression.deployment.tensor_cuts import (
    BYTES,
    FIELDS,
    HALVES,
    OTHERS,
    PLANES,
    QUARTERS,
    WORD,
    WORDS,
    Cut,
    cut_integers,
    cut_others,
    cut_words,
    deflate,
    file_bytes,
    inflate,
    restore,
)
from model_compression.deployment.weight_coding import NumberCoder, bits_to_mix

_MAGIC = b"MCPACK\x02\n"
_DIGEST_SIZE = 8
_LARGEST_RATIO, _SLACK = 256, 1 << 20
_LARGEST_HEAD_RATIO = 32
_BITS_A_BYTE, _BITS_SLACK, _MOST_BITS = 1 << 10, 1 << 18, 1 << 21
_NUMBERS_A_BYTE, _NUMBERS_SLACK, _MOST_NUMBERS = 1 << 6, 1 << 18, 1 << 24
_NUMBERS_A_CUT = 256
"""What it takes to begin a tensor that is coded by frequency: as long as so many numbers."""
_SHORTEST = 64
"""Bytes of a tensor below which a cut costs more than it saves."""
_SHORTEST_OTHERS = 2048
"""Likewise of words and the like: scales and biases are coded with the head, which is good at
them."""
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
    cuts: list[tuple[Cut, bool]] = []
    end = bits = numbers = 0
    for place, tensor in _weights(content):
        cut = _cut(tensor)
        if cut is None:
            continue
        to_mix = None if cut.numbers is None else bits_to_mix(cut.numbers, cut.lie)
        mixed = to_mix is not None and bits + to_mix <= _MOST_BITS
        if mixed and to_mix is not None:
            bits += to_mix
        elif cut.numbers is not None:
            if numbers + len(cut.numbers) + _NUMBERS_A_CUT > _MOST_NUMBERS:
                continue
            numbers += len(cut.numbers) + _NUMBERS_A_CUT
        plan += _varint(place - end) + bytes([2 * cut.kind + mixed])
        plan += b"".join(map(_varint, cut.fields)) + cut.table
        rest += content[end:place]
        cuts.append((cut, mixed))
        end = place + len(tensor.raw_data)
    head = _varint(len(cuts)) + plan + rest + content[end:]
    encoder = RangeEncoder()
    frame = deflate(head) if len(head) > LARGEST_HEAD else b""
    if not frame:
        code_head(encoder, head, len(head))
    coder = NumberCoder(encoder, _MOST_BITS)
    for cut, mixed in cuts:
        if cut.numbers is not None:
            coder.code(cut.numbers.tolist(), len(cut.numbers), cut.lie, mixed)
    coded = encoder.finish()
    sizes = b"".join(map(_varint, (len(content), len(head), len(frame), len(coded))))
    fewest = _fewest(max(len(content), len(head)), 0 if frame else len(head), bits, numbers)
    body = b"".join([sizes, frame, coded, *(cut.rest for cut, _ in cuts)])
    body = body.ljust(fewest - len(_MAGIC) - _DIGEST_SIZE, b"\0")
    return _MAGIC + _digest(body, content) + body


def unpack(packed: bytes) -> bytes:
    """The very file that was packed.

    Raises:
        PackingError: If the container is truncated, altered, of another version, or none.
    """
    if packed[: len(_MAGIC)] != _MAGIC:
        raise PackingError(
            f"Expected a container that begins with {_MAGIC!r}; got {packed[: len(_MAGIC)]!r}: it "
            "is none, or of a version that this release does not know. Pack the model again."
        )
    try:
        reader = _Reader(packed, len(_MAGIC))
        digest = reader.take(_DIGEST_SIZE)
        size, head_size, frame_size, coded_size = (reader.varint() for _ in range(4))
        if len(packed) < _fewest(max(size, head_size), 0 if frame_size else head_size):
            raise ValueError(f"{len(packed)} bytes may not hold {max(size, head_size)}")
        if not frame_size and head_size > LARGEST_HEAD:
            raise ValueError(f"a head of {head_size} bytes is never coded")
        frame = reader.take(frame_size)
        decoder = RangeDecoder(reader.take(coded_size))
        head = inflate(frame, head_size) if frame_size else code_head(decoder, None, head_size)
        coder = NumberCoder(decoder, _most_bits(len(packed)))
        content = _put_together(head, coder, reader, size, _most_numbers(len(packed)))
        body = packed[len(_MAGIC) + _DIGEST_SIZE :]
        if len(content) != size or _digest(body, content) != digest:
            raise ValueError("the checksum does not fit what is in it")
    except ValueError as error:
        raise PackingError(
            f"The container is truncated or altered: {error}. Get it again from where it came from."
        ) from error
    return content


def _put_together(
    head: bytes, coder: NumberCoder, streams: "_Reader", size: int, most_numbers: int
) -> bytes:
    """The file; nothing is decoded before all that is to be decoded was found to be allowed."""
    reader = _Reader(head, 0)
    planned: list[tuple[int, Cut, bool]] = []
    room, numbers = size, 0
    for _ in range(reader.varint()):
        gap = reader.varint()
        (byte,) = reader.take(1)
        kind, mixed = byte // 2, bool(byte % 2)
        if kind not in FIELDS:
            raise ValueError(f"there is no cut of kind {kind}")
        fields = tuple(reader.varint() for _ in range(FIELDS[kind]))
        table = reader.take(WORD.itemsize * fields[1]) if kind == WORDS else b""
        cut = Cut(kind, fields, table)
        stretch = file_bytes(kind, fields[0])
        if stretch < _SHORTEST:
            raise ValueError(f"a cut of {stretch} bytes is never made")
        room -= stretch
        if kind < PLANES:
            cut.check_lie()
            numbers += 0 if mixed else fields[0] + _NUMBERS_A_CUT
        if room < 0 or numbers > most_numbers:
            raise ValueError(f"more elements are announced than {size} bytes may have")
        planned.append((gap, cut, mixed))
    content = bytearray()
    for gap, cut, mixed in planned:
        content += reader.take(gap)
        if cut.kind < PLANES:
            decoded = coder.code(None, cut.fields[0], cut.lie, mixed)
            content += restore(cut._replace(numbers=np.array(decoded, np.int64)), streams.take)
        else:
            content += restore(cut, streams.take)
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


def _cut(tensor: TensorProto) -> Cut | None:
    """The tensor, taken apart; ``None`` where that is not worth it."""
    raw, dims = tensor.raw_data, tuple(tensor.dims)
    integers = _INTEGERS.get(tensor.data_type)
    kind = PLANES if integers is None else integers[0]
    is_whole = min(dims, default=0) > 0 and file_bytes(kind, math.prod(dims)) == len(raw)
    cut = None
    if integers is not None and is_whole:
        cut = cut_integers(raw, kind, integers[1], dims)
    elif len(raw) >= _SHORTEST_OTHERS and is_whole and tensor.data_type in _WORDS:
        cut = cut_words(raw, tensor.data_type == TensorProto.FLOAT, dims)
    elif len(raw) >= _SHORTEST_OTHERS:
        cut = cut_others(raw)
    if cut is None or (cut.kind == OTHERS and len(raw) < _SHORTEST_OTHERS):
        return None
    return cut


_INTEGERS: dict[int, tuple[int, bool]] = {
    TensorProto.INT8: (BYTES, True),
    TensorProto.UINT8: (BYTES, False),
    TensorProto.INT4: (HALVES, True),
    TensorProto.UINT4: (HALVES, False),
    TensorProto.INT2: (QUARTERS, True),
    TensorProto.UINT2: (QUARTERS, False),
}
"""How the types of small integers are cut, and whether they have a sign."""


_WORDS = (TensorProto.FLOAT, TensorProto.INT32)


def _digest(body: bytes, content: bytes) -> bytes:
    return hashlib.blake2b(body + content, digest_size=_DIGEST_SIZE).digest()


def _fewest(size: int, coded_head: int, bits: int = 0, numbers: int = 0) -> int:
    """The bytes of a container that holds so many, so many bits and so many numbers, at least."""
    return max(
        0,
        -(-(size - _SLACK) // _LARGEST_RATIO),
        -(-coded_head // _LARGEST_HEAD_RATIO),
        -(-(bits - _BITS_SLACK) // _BITS_A_BYTE),
        -(-(numbers - _NUMBERS_SLACK) // _NUMBERS_A_BYTE),
    )


def _most_bits(size: int) -> int:
    """The bits that a container of so many bytes may have coded by mixing."""
    return min(_BITS_SLACK + _BITS_A_BYTE * size, _MOST_BITS)


def _most_numbers(size: int) -> int:
    """The numbers that a container of so many bytes may have coded by frequency."""
    return min(_NUMBERS_SLACK + _NUMBERS_A_BYTE * size, _MOST_NUMBERS)


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
