"""The container: the very same file comes out, or a refusal; nothing else, and never late."""

import os
import time

import numpy as np
import onnx
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from model_compression.deployment import (
    PackingError,
    pack,
    packed_size,
    packing,
    tensor_cuts,
    unpack,
)

HEADER = 24


def model_of(**tensors: np.ndarray) -> bytes:
    """An ONNX file with these initializers and nothing to compute."""
    kept = [onnx.numpy_helper.from_array(array, name) for name, array in tensors.items()]
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    node = helper.make_node("Identity", ["x"], ["y"])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    return helper.make_model(
        helper.make_graph([node], "g", [value], [result], kept)
    ).SerializeToString()


def zstd(content: bytes) -> int:
    return len(zstandard.ZstdCompressor(level=22).compress(content))


def tensors() -> dict[str, np.ndarray]:
    """One for each way to code, and some for none."""
    generator = np.random.default_rng(0)
    dense = generator.normal(0, 0.1, (16, 8, 3, 3)).astype(np.float32)
    sparse = np.where(generator.random(dense.shape) < 0.1, dense, np.float32(0))
    sparse.flat[:3] = [-0.0, np.inf, np.nan]
    integers = np.clip(np.round(generator.normal(0, 20, (16, 16, 3, 3))), -127, 127)
    return {
        "planes": dense,
        "floats": sparse,
        "int8": integers.astype(np.int8),
        "uint8": (integers + 128).astype(np.uint8),
        "codebook": generator.choice(dense.flat[:5], (32, 16)).astype(np.float32),
        "int32": generator.integers(-3, 3, 500, dtype=np.int32),
        "wide": generator.integers(-(2**31), 2**31, 100).astype(np.int32),
        "half": dense.astype(np.float16),
        "long": np.arange(40, dtype=np.int64),
        "few": np.float32([1, 2]),
        "none": np.zeros((0, 3), dtype=np.float32),
    }


@pytest.mark.parametrize("name", list(tensors()))
def test_a_tensor_of_any_kind_comes_back(name):
    content = model_of(**{name: tensors()[name]})
    assert unpack(pack(content)) == content


def test_a_whole_file_comes_back_and_is_smaller_than_by_zstandard():
    content = model_of(**tensors())
    packed = pack(content)
    assert unpack(packed) == content
    assert len(packed) == packed_size(content) < zstd(content)


def network_like(kind: str) -> np.ndarray:
    generator = np.random.default_rng(1)
    floats = generator.normal(0, 0.1, (64, 64, 3, 3)).astype(np.float32)
    kept = generator.random(floats.shape) < 0.05
    return {
        "float32": floats,
        "masked": np.where(kept, floats, np.float32(0)),
        "int8": np.round(floats * 250).clip(-127, 127).astype(np.int8),
        "masked int8": np.where(kept, np.round(floats * 250), 0).clip(-127, 127).astype(np.int8),
        "codebook": np.round(floats * 15).clip(-3, 3).astype(np.float32) * np.float32(0.07),
    }[kind]


@pytest.mark.parametrize(
    ("kind", "share"),
    [
        ("float32", 0.93),
        ("masked", 0.9),
        ("int8", 0.998),
        ("masked int8", 0.87),
        ("codebook", 0.95),
    ],
)
def test_what_networks_are_made_of_packs_better_than_by_zstandard(kind, share):
    content = model_of(weight=network_like(kind))
    assert packed_size(content) < share * zstd(content)


@given(
    st.sampled_from([np.int8, np.uint8, np.int32, np.float32, np.int64]),
    st.binary(min_size=0, max_size=3000),
    st.sampled_from([1, 3, 9]),
)
def test_any_numbers_come_back(kind, content, kernel):
    words = np.frombuffer(content[: len(content) // 8 * 8], dtype=kind)
    words = words[: len(words) // kernel * kernel].reshape(-1, 1, kernel)
    file = model_of(a=words, b=words[::2])
    assert unpack(pack(file)) == file


def test_what_shrinks_without_end_stays_large_enough_to_be_trusted():
    content = model_of(a=np.zeros(2_000_000, dtype=np.float32))
    packed = pack(content)
    assert len(content) / 300 < len(packed) < len(content) / 200
    assert unpack(packed) == content


def test_noise_costs_a_few_bytes():
    content = model_of(a=np.frombuffer(os.urandom(20_000), dtype=np.int8))
    assert packed_size(content) < len(content) + 60


@pytest.fixture(scope="module")
def packed() -> bytes:
    return pack(model_of(**tensors()))


@settings(max_examples=300)
@given(st.data())
def test_a_container_that_was_altered_anywhere_is_refused(packed, data):
    place = data.draw(st.integers(0, len(packed) - 1))
    change = data.draw(st.integers(1, 255))
    altered = bytearray(packed)
    altered[place] ^= change
    with pytest.raises(PackingError):
        unpack(bytes(altered))


@settings(max_examples=100)
@given(st.data())
def test_a_container_that_was_cut_or_went_on_is_refused(packed, data):
    end = data.draw(st.integers(0, len(packed) - 1))
    more = data.draw(st.binary(min_size=1, max_size=20))
    for wrong in (packed[:end], packed + more):
        with pytest.raises(PackingError):
            unpack(wrong)


def varint(number: int) -> bytes:
    low = bytearray()
    while number > 127:
        low.append(number & 127 | 128)
        number >>= 7
    return bytes([*low, number])


def forged(size: int, head: bytes, streams: bytes = b"") -> bytes:
    """A container that holds whatever one likes, but for the checksum."""
    frame = zstandard.ZstdCompressor(write_content_size=False).compress(head)
    sizes = varint(size) + varint(len(head)) + varint(len(frame))
    return b"MCPACK\x01\n" + bytes(16) + sizes + frame + streams


numbers = st.one_of(st.integers(0, 300), st.sampled_from([2**20, 2**24, 2**31, 2**40, 2**62]))


@settings(max_examples=300)
@given(
    numbers,
    st.lists(
        st.tuples(numbers, st.integers(0, 5), st.lists(numbers, max_size=6), numbers), max_size=4
    ),
    st.binary(max_size=200),
    st.binary(max_size=200),
)
def test_a_forged_head_is_refused_before_it_takes_time_or_memory(size, cuts, rest, streams):
    head = varint(len(cuts)) + b"".join(
        varint(gap) + bytes([kind]) + b"".join(map(varint, fields)) + varint(length)
        for gap, kind, fields, length in cuts
    )
    began = time.process_time()
    with pytest.raises(PackingError):
        unpack(forged(size, head + rest, streams))
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    "head",
    [
        # A million symbols, none of them in the container: 0 bytes are a stream too.
        varint(1) + b"\0\0" + b"".join(map(varint, (2**20, 256, 0, 1, 0, 0))),
        # More elements than the file may have.
        varint(1) + b"\0\0" + b"".join(map(varint, (2**21, 256, 0, 1, 0, 0))),
        # A bomb of Zstandard's.
        bytes(1 << 27),
        # Many cuts of nothing.
        varint(100_000) + (b"\0\0" + b"".join(map(varint, (0, 256, 0, 1, 0, 0)))) * 100_000,
    ],
)
def test_bombs_end_soon(head):
    began = time.process_time()
    with pytest.raises(PackingError):
        unpack(forged(2**20, head))
    assert time.process_time() - began < 30


@pytest.mark.parametrize("announced", [2**30, 2**40, 2**62])
def test_a_frame_that_announces_its_size_is_not_believed(announced):
    # Zstandard's magic, a descriptor that says that eight bytes of size follow, and an empty block.
    frame = b"\x28\xb5\x2f\xfd\xe0" + announced.to_bytes(8, "little") + b"\x01\x00\x00"
    sizes = varint(100) + varint(10) + varint(len(frame))
    with pytest.raises(PackingError, match="announces its size"):
        unpack(b"MCPACK\x01\n" + bytes(16) + sizes + frame)


@pytest.mark.parametrize(
    ("kind", "dims", "size"),
    [
        (TensorProto.FLOAT, [16], 67),
        (TensorProto.INT8, [1, 1, 5000], 4000),
        (TensorProto.INT8, [1, 1, -5], 80),
        (TensorProto.INT8, [-1, 1, -80], 80),
        (TensorProto.INT8, [1, 1, 2**62, 2**62], 80),
    ],
)
def test_a_tensor_that_is_not_what_it_says_comes_back_all_the_same(kind, dims, size):
    model = onnx.load_model_from_string(model_of(a=np.zeros(8, dtype=np.int8)))
    raw = bytes(place % 3 for place in range(size))
    model.graph.initializer.append(TensorProto(name="odd", data_type=kind, dims=dims, raw_data=raw))
    content = model.SerializeToString()
    assert unpack(pack(content)) == content


@given(st.binary(max_size=300))
def test_noise_is_refused(content):
    for prefix in (b"", b"MCPACK\x01\n"):
        with pytest.raises(PackingError):
            unpack(prefix + content)


def test_another_version_and_other_files_are_refused_in_words(packed):
    with pytest.raises(PackingError, match="of a version that this release does not know"):
        unpack(b"MCPACK\x02\n" + packed[8:])
    with pytest.raises(PackingError, match="Expected an ONNX file to pack; 9 bytes that are none"):
        pack(b"not onnx!")
    with pytest.raises(PackingError, match="0 bytes without a graph came"):
        pack(b"")


def pseudorandom(count: int) -> np.ndarray:
    """Whole numbers below 2^16 that no version of a library changes."""
    numbers = [1]
    for _ in range(count):
        numbers.append((1103515245 * numbers[-1] + 12345) % 2**31)
    return np.array(numbers[1:]) >> 15


def known_tensors() -> dict[str, np.ndarray]:
    chance = pseudorandom(200)
    return {
        "bytes": (chance % 3 - 1).astype(np.int8),
        "words": (0.5 * (chance % 5)).astype(np.float32),
        "floats": np.where(chance % 3 == 0, chance + 0.5, 0).astype(np.float32),
        "planes": (chance / 70000).astype(np.float32),
    }


def test_a_container_of_this_version_is_read_for_ever():
    """Written by the release that introduced the layout, with a cut of each kind."""
    assert kinds_in(bytes.fromhex(KNOWN)) == {0, 1, 2, 3}
    weights = onnx.load_model_from_string(unpack(bytes.fromhex(KNOWN))).graph.initializer
    arrays = {each.name: onnx.numpy_helper.to_array(each) for each in weights}
    assert arrays.keys() == known_tensors().keys()
    for name, expected in known_tensors().items():
        assert np.array_equal(arrays[name], expected), name


def kinds_in(packed: bytes) -> set[int]:
    kinds = set()

    def note(cut):
        kinds.add(cut.kind)
        return tensor_cuts.restore(cut)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "restore", note)
        unpack(packed)
    return kinds


def test_each_kind_of_cut_is_made():
    assert kinds_in(pack(model_of(**known_tensors()))) == {0, 1, 2, 3}


KNOWN = (
    "4d435041434b010aa219adcd4242ff10e3ae5bd88ad9ff98b215c101a50128b52ffd0000e504008288202290cf"
    "01ff7fd5aaf6da59efff6b0ec5c010efcd3d099d449dcbd15dc94805bc499201cb014ce87323fb0d7001f9bd39"
    "37ae0dc43eb1c4c28f23de86582d521b4373989e709bef16b99568364cc1f17dbfdc748fa0a557829b566d067d"
    "e47c7e70a5858a3dc000fb3d480095faef4012493a4eb58ef407c3f7479e9fff83efda11020900687889d830b0"
    "b44d59007fa1e67a00205c400e200c875eba15aa28b6a0f89f302fca430dd1fbdd8d4ad3b871e360d10d8425d7"
    "58c877b5bd5e26a06b05bde04a305dfc219d47eb92cc0903da669e17db773773119a06daa4d6cc18c509531d9f"
    "ec5f2e05cf3f759e6af3c8143183a30c90d8b248d99c693b84fd84c86f0747084080a35e681fcafe9492824d5c"
    "e5d2c891dc3ba47a85d603d4b0f74001bfcd8792d02bf3997487d8edd9ac859d646bca8e1228797c787fe89d9a"
    "7e47466df41e6735b56e9e1d7800f63380d70880977200f10d00961b009d31800e0580ad2c004b47000a4d80aa"
    "7a007a0100be5980ca3c00d278006473000d0100e17d00eb4f009b5a00d83000722480533200dc4600b27a0087"
    "2f00826b008318801f6300381600e26e809b7700922200920a800c4080657d00050080594180655c00556a806c"
    "7c801f2700eb7380f97c005d7400ef4200ec4800c131808f47006d64003443807b7680813d803b1400cd10801a"
    "2f80bd10003f56804c1b008e0500781280237a004e3080c655804b5828b52ffd0000fd0800040ef62893006324"
    "2859edefa0ba84b06b00371a373b45111596a65bf9c0113c5f504f21350bbaaa3f46c7de6af24b6530c43a3565"
    "d79835680d26659863d35b09e30871ed62e4c251ccabb72519fa26bac0396aa45c8e91540c1cbf222f605f4867"
    "3ace21411886014f3347068d4051062b3d6d6fce354e566abdcff3db646c1c1067da3d97e4126b62136ce43f32"
    "b6e6fcbc0ea6093a2ad528b66604310a183b349087238c07c892d507e911c7fa75096adbb51aa704ab07e31c13"
    "25048c51484a560e01211c257ccc3e3e3e3f3f3e3f3e3e3d3d3d3c3f3d3f3e3d3d3f3e3d3d3d21a8d1ee5affef"
    "300a39a61e6098d11a0e0a91dc519485608bda3e493c780c22379d9bbc60d065bb25066c740c24760fccc1dbe4"
    "0c291b4f3e6d6a25d4de2e31069a442dc86c5e1431cd8aee740332e42dae1df2af71c3a3e6318fe2548cfc6f24"
    "827cc409b1a1cab86153edf5b0891619e38e0421207792de9de272c9c67f5e9a44b48239ce38737af4c5c7949e"
    "687f593c80231eaf339655ac40c3b8df37c570177be64ebeed5ba8dc08b550a9362abe81f47251fb7a407b3c17"
    "abb720f38ef7fc25d892d619b7dedeaec7d11c9d25781c92e76b7816f042112a3fe0e81f62b01464696ccdb1b4"
    "1391315666ac003ddaab46d25db2cddeb86d040bea6251d531bd2750e2507af21d1ea14e122a1edbc5e26db351"
    "83f1dc003ca8e8d748d3234a6c3d427faea9c4769477f4315b2fad6cd9b7bf12f8a55473c76af24c7922f89ece"
    "4d26da8ea2aff2a1a73ba9b51989f361f329235eb3547bc8faa39c0f121694c3a4f5d09dd78ffb322ab91fcc66"
    "2c3568e4f482613cb4680456746b882bc562005376d1e809541c5b49977d29d7c6a95b7f0891186a6a6fd567da"
    "ddbdc3216bc7e15722ce90ef678294f51494e164560f61192f8b38fffa8ccc85feeb730df21308247fa18c8e40"
    "f97ff190"
)


@pytest.mark.parametrize("bits", [2, 4])
def test_numbers_that_share_bytes_are_coded_near_their_entropy(bits):
    generator = np.random.default_rng(0)
    numbers = generator.integers(0, 1 << bits, 20_001) * (generator.random(20_001) < 0.2)
    padded = np.pad(numbers, (0, -len(numbers) % (8 // bits))).reshape(-1, 8 // bits)
    raw = (padded << np.arange(0, 8, bits)).sum(axis=1).astype(np.uint8).tobytes()
    cut = tensor_cuts.cut_parts(raw, bits, 1)
    assert cut is not None
    assert tensor_cuts.restore(cut) == raw
    share = np.bincount(numbers) / len(numbers)
    entropy = -(share * np.log2(share)).sum() * len(numbers) / 8
    assert cut.size < 1.03 * entropy
    assert tensor_cuts.symbols_in(cut.kind, cut.fields) == padded.size


@pytest.mark.parametrize("fields", [(100, 16, 0, 1, 3), (100, 4, 0, 1, 4), (100, 16, 20, 1, 4)])
def test_parts_that_are_never_written_are_refused(fields):
    with pytest.raises(ValueError, match="never"):
        tensor_cuts.restore(tensor_cuts.Cut(tensor_cuts.PARTS, fields, b"", b"\x01" * 50))
