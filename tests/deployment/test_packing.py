"""The container: the very same file comes out, or a refusal; nothing else, and never late."""

import base64
import os
import time

import ml_dtypes
import numpy as np
import onnx
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from tests.conftest import untraced

from model_compression.deployment import (
    PackingError,
    pack,
    packed_size,
    packing,
    tensor_cuts,
    unpack,
)
from model_compression.deployment.head_coding import code_head
from model_compression.deployment.range_coder import RangeEncoder


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
        "int4": generator.integers(-3, 4, (3, 5, 15)).astype(ml_dtypes.int4),
        "uint4": np.full((9, 33), 5).astype(ml_dtypes.uint4),
        "int2": generator.integers(-1, 2, (40, 21)).astype(ml_dtypes.int2),
        "uint2": (generator.random((300, 31)) < 0.05).astype(ml_dtypes.uint2),
        "int32": generator.integers(-3, 3, 500, dtype=np.int32),
        "wide": generator.integers(-(2**31), 2**31, 600).astype(np.int32),
        "noise": generator.integers(0, 256, 3000, dtype=np.uint8),
        "half": dense.astype(np.float16),
        "long": np.arange(400, dtype=np.int64),
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
    floats = generator.normal(0, 0.1, (64, 32, 3, 3)).astype(np.float32)
    kept = generator.random(floats.shape) < 0.05
    return {
        "float32": floats,
        "masked": np.where(kept, floats, np.float32(0)),
        "int8": np.round(floats * 250).clip(-127, 127).astype(np.int8),
        "masked int8": np.where(kept, np.round(floats * 250), 0).clip(-127, 127).astype(np.int8),
        "pruned int4": np.where(kept, np.round(floats * 30), 0).clip(-7, 7).astype(ml_dtypes.int4),
        "codebook": np.round(floats * 15).clip(-3, 3).astype(np.float32) * np.float32(0.07),
    }[kind]


@pytest.mark.parametrize(
    ("kind", "share"),
    [
        ("float32", 0.93),
        ("masked", 0.9),
        ("int8", 0.995),
        ("masked int8", 0.83),
        ("codebook", 0.95),
        ("pruned int4", 0.8),
    ],
)
def test_what_networks_are_made_of_packs_better_than_by_zstandard(kind, share):
    content = model_of(weight=network_like(kind))
    assert packed_size(content) < share * zstd(content)


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from([np.int8, np.uint8, np.int32, np.float32, np.int64]),
    st.binary(min_size=0, max_size=600),
    st.sampled_from([1, 3, 9]),
)
def test_any_numbers_come_back(kind, content, kernel):
    words = np.frombuffer(content[: len(content) // 8 * 8], dtype=kind)
    words = words[: len(words) // kernel * kernel].reshape(-1, 1, kernel)
    file = model_of(a=words, b=words[::2])
    assert unpack(pack(file)) == file


def test_empty_columns_are_found_where_zstandard_sees_more_than_the_shares_tell():
    """As at the edges of images: three columns of four are empty, a quarter of the others not."""
    generator = np.random.default_rng(0)
    used = (generator.random((64, 128)) < 0.25) & (np.arange(128) % 64 < 16)
    weights = np.where(used, generator.integers(-1, 2, used.shape), 0).astype(np.int8)
    packed = pack(model_of(a=weights))
    assert kinds_in(packed) == {tensor_cuts.BYTES}
    assert len(packed) < 0.85 * zstd(weights.tobytes())


def test_what_shrinks_without_end_stays_large_enough_to_be_trusted(monkeypatch):
    content = model_of(a=np.zeros(1_000_000, dtype=np.int64))
    packed = pack(content)
    assert len(content) / 300 < len(packed) < len(content) / 200
    assert unpack(packed) == content
    # Of these nearly nothing is written, yet each takes its time.
    bits = (np.random.default_rng(0).random((100, 500)) < 0.003).astype(ml_dtypes.int2)
    monkeypatch.setattr(packing, "_BITS_SLACK", 1 << 10)
    monkeypatch.setattr(packing, "_BITS_A_BYTE", 1 << 6)
    packed = pack(model_of(a=bits))
    assert len(packed) > (bits.size - (1 << 10)) / (1 << 6)
    assert unpack(packed) == model_of(a=bits)


def test_noise_costs_a_few_bytes():
    content = model_of(a=np.frombuffer(os.urandom(20_000), dtype=np.int8))
    assert packed_size(content) < len(content) + 60


@pytest.fixture(scope="module")
def packed() -> bytes:
    generator = np.random.default_rng(0)
    integers = generator.integers(-2, 3, (10, 12)) * (generator.random((10, 12)) < 0.3)
    kinds = (np.int8, ml_dtypes.int4)
    return pack(model_of(**{str(place): integers.astype(kind) for place, kind in enumerate(kinds)}))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_container_that_was_altered_anywhere_is_refused(packed, data):
    place = data.draw(st.integers(0, len(packed) - 1))
    change = data.draw(st.integers(1, 255))
    altered = bytearray(packed)
    altered[place] ^= change
    with pytest.raises(PackingError):
        unpack(bytes(altered))


@settings(max_examples=20, deadline=None)
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


def forged(size: int, head: bytes, coded: bytes = b"", coded_head: bool = False) -> bytes:
    """A container that holds whatever one likes, but for the checksum."""
    frame = zstandard.ZstdCompressor(write_content_size=False).compress(head)
    if coded_head:
        encoder = RangeEncoder()
        code_head(encoder, head, len(head))
        frame, coded = b"", encoder.finish() + coded
    sizes = b"".join(map(varint, (size, len(head), len(frame), len(coded))))
    return b"MCPACK\x02\n" + bytes(8) + sizes + frame + coded


numbers = st.one_of(st.integers(0, 300), st.sampled_from([2**20, 2**24, 2**31, 2**40, 2**62]))


@settings(max_examples=60, deadline=None)
@given(
    numbers,
    st.lists(st.tuples(numbers, st.integers(0, 15), st.lists(numbers, max_size=7)), max_size=4),
    st.binary(max_size=60),
    st.binary(max_size=200),
    st.booleans(),
)
def test_a_forged_head_is_refused_before_it_takes_time_or_memory(
    size, cuts, rest, coded, coded_head
):
    head = varint(len(cuts)) + b"".join(
        varint(gap) + bytes([kind]) + b"".join(map(varint, fields)) for gap, kind, fields in cuts
    )
    began = time.process_time()
    with pytest.raises(PackingError):
        unpack(forged(size, head + rest, coded, coded_head))
    assert time.process_time() - began < 5


BYTES, MIXED_BYTES, MIXED_QUARTERS, FLOATS, MIXED_FLOATS = (bytes([n]) for n in (0, 1, 5, 8, 9))


def cut(kind: bytes, *fields: int) -> bytes:
    return b"\0" + kind + b"".join(map(varint, fields))


@pytest.mark.parametrize(
    "head",
    [
        # A million numbers, none of them in the container: 0 bytes are a stream too.
        varint(1) + cut(BYTES, 2**20, 256, 0, 2**20, 1, 1, 0),
        # Likewise, mixed: of these fewer are allowed.
        varint(1) + cut(MIXED_BYTES, 2**20, 256, 0, 1024, 1, 1, 0),
        varint(1) + cut(MIXED_QUARTERS, 2**22, 4, 3, 1024, 1, 1, 0),
        # More elements than the file may have.
        varint(1) + cut(BYTES, 2**21, 256, 0, 1, 1, 1, 0),
        # Many tensors, each of which takes time to begin.
        varint(1 << 14) + cut(MIXED_FLOATS, 16, 257, 0, 16, 1, 1) * (1 << 14),
        varint(1 << 12) + cut(FLOATS, 16, 257, 0, 16, 1, 1) * (1 << 12),
        # A bomb of Zstandard's.
        bytes(1 << 27),
        # Many cuts of nothing.
        varint(100_000) + cut(BYTES, 0, 256, 0, 1, 1, 1, 0) * 100_000,
    ],
)
def test_bombs_end_soon(head):
    began = time.process_time()
    with pytest.raises(PackingError):
        untraced(unpack)(forged(2**20, head))
    assert time.process_time() - began < 30


def test_as_many_small_tensors_as_a_large_container_may_hold_are_refused_at_once():
    count = 1 << 16
    head = varint(count) + cut(FLOATS, 16, 257, 0, 16, 1, 1) * count
    began = time.process_time()
    with pytest.raises(PackingError, match="more elements are announced"):
        untraced(unpack)(forged(64 * count, head, os.urandom(20_000)))
    assert time.process_time() - began < 10


def test_more_numbers_than_a_container_of_its_size_has_are_refused_before_one_is_decoded():
    head = varint(1) + cut(BYTES, 2**23, 256, 0, 2**23, 1, 1, 0)
    began = time.process_time()
    with pytest.raises(PackingError, match="more elements are announced"):
        unpack(forged(2**23, head, os.urandom(2**15)))
    assert time.process_time() - began < 0.5


def test_what_has_many_numbers_a_byte_is_padded_until_it_may_be_read(monkeypatch):
    monkeypatch.setattr(packing, "_MOST_BITS", 0)  # nothing is mixed
    monkeypatch.setattr(packing, "_NUMBERS_SLACK", 256)
    content = model_of(a=np.zeros(64_000, dtype=np.int8))
    packed = pack(content)
    assert len(packed) == 64_000 // 64
    assert unpack(packed) == content


@pytest.mark.parametrize("announced", [2**30, 2**40, 2**62])
def test_a_frame_that_announces_its_size_is_not_believed(announced):
    # Zstandard's magic, a descriptor that says that eight bytes of size follow, and an empty block.
    frame = b"\x28\xb5\x2f\xfd\xe0" + announced.to_bytes(8, "little") + b"\x01\x00\x00"
    sizes = varint(100) + varint(10) + varint(len(frame)) + varint(0)
    with pytest.raises(PackingError, match="announces its size"):
        unpack(b"MCPACK\x02\n" + bytes(8) + sizes + frame)


@pytest.mark.parametrize(("size", "room"), [(1 << 13, 0), (1 << 16, 1 << 12)])
def test_a_head_that_would_take_long_is_refused(size, room):
    sizes = varint(100) + varint(size) + varint(0) + varint(0)
    began = time.process_time()
    with pytest.raises(PackingError, match=r"may not hold 8192|a head of 65536 bytes is never"):
        unpack(b"MCPACK\x02\n" + bytes(8) + sizes + bytes(room))
    assert time.process_time() - began < 0.1


@pytest.mark.parametrize(
    ("kind", "dims", "size"),
    [
        (TensorProto.FLOAT, [16], 67),
        (TensorProto.INT8, [1, 1, 5000], 4000),
        (TensorProto.INT8, [1, 1, -5], 80),
        (TensorProto.INT8, [-1, 1, -80], 80),
        (TensorProto.INT8, [1, 1, 2**62, 2**62], 80),
        (TensorProto.INT4, [3, 100], 149),
        (TensorProto.INT2, [400], 101),
        (TensorProto.UINT4, [1, 199], 100),
    ],
)
def test_a_tensor_that_is_not_what_it_says_comes_back_all_the_same(kind, dims, size):
    model = onnx.load_model_from_string(model_of(a=np.zeros(8, dtype=np.int8)))
    raw = bytes(place % 3 for place in range(size))
    model.graph.initializer.append(TensorProto(name="odd", data_type=kind, dims=dims, raw_data=raw))
    content = model.SerializeToString()
    assert unpack(pack(content)) == content


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=300))
def test_noise_is_refused(content):
    for prefix in (b"", b"MCPACK\x02\n"):
        with pytest.raises(PackingError):
            unpack(prefix + content)


def test_another_version_and_other_files_are_refused_in_words(packed):
    with pytest.raises(PackingError, match="of a version that this release does not know"):
        unpack(b"MCPACK\x01\n" + packed[8:])
    with pytest.raises(PackingError, match="Expected an ONNX file to pack; 9 bytes that are none"):
        pack(b"not onnx!")
    with pytest.raises(PackingError, match="0 bytes without a graph came"):
        pack(b"")


def test_bits_beyond_the_last_number_come_back():
    """The last byte has room for one more of 4 bits; whatever is there is part of the file."""
    model = onnx.load_model_from_string(model_of(a=np.zeros(8, dtype=np.int8)))
    raw = bytes(17 * (place % 3) for place in range(100))
    for last in (b"\x01", b"\x71"):
        tensor = TensorProto(name="t", data_type=TensorProto.INT4, dims=[201], raw_data=raw + last)
        del model.graph.initializer[1:]
        model.graph.initializer.append(tensor)
        content = model.SerializeToString()
        assert unpack(pack(content)) == content


def pseudorandom(count: int) -> np.ndarray:
    """Whole numbers below 2^16 that no version of a library changes."""
    numbers = [1]
    for _ in range(count):
        numbers.append((1103515245 * numbers[-1] + 12345) % 2**31)
    return np.array(numbers[1:]) >> 15


def known_tensors() -> dict[str, np.ndarray]:
    chance = pseudorandom(600)
    return {
        "bytes": (chance[:300] * chance[300:] % 40 - 20).astype(np.int8),
        "halves": (chance[:250] % 7 * (chance[250:500] % 5 == 0) - 1).astype(ml_dtypes.int4),
        "quarters": (chance % 10 == 0).astype(ml_dtypes.uint2),
        "words": (0.5 * (chance % 5)).astype(np.float32),
        "floats": np.where(chance % 3 == 0, chance + 0.5, 0).astype(np.float32),
        "planes": (chance / 70000).astype(np.float32),
        "others": np.arange(512, dtype=np.int64),
    }


def test_a_container_of_this_version_is_read():
    """Written by the release that introduced the layout, with a cut of each kind."""
    assert kinds_in(KNOWN) == set(range(7))
    weights = onnx.load_model_from_string(unpack(KNOWN)).graph.initializer
    arrays = {each.name: onnx.numpy_helper.to_array(each) for each in weights}
    assert arrays.keys() == known_tensors().keys()
    for name, expected in known_tensors().items():
        assert np.array_equal(arrays[name], expected), name


def kinds_in(packed: bytes) -> set[int]:
    kinds = set()

    def note(cut, take):
        kinds.add(cut.kind)
        return tensor_cuts.restore(cut, take)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "restore", note)
        unpack(packed)
    return kinds


def test_each_kind_of_cut_is_made():
    assert kinds_in(pack(model_of(**known_tensors()))) == set(range(7))


KNOWN = base64.b85decode(
    "O+!#YLrVe*?d%?J3FV!Kqh6c>0IUZ07!gK|#G*wo0-&1sf`J60z{m%a;qn)(-UCVdDv}0Zx|9U)0Crp=iB=*a^iI3(?WQ;w("
    "!e|rs;eUSfQorFB5EQNFjp$i*UkVwXa(z9ogDE}^5mM1OIK^HL7A}DJLS`t7h-gLcNeqX*Dw}5C%Wyz`8ds^t?f%56FvhFJ2"
    "8O|23(uLUjIN{e&}sL##mSY*Gi1aUA+^P4ZDb|UFL3U5@3M9WSFdA!Sq6CSHvE4)GL(9P&SNcrSSfs6o)vZ^G1vdAjh6#@Ye"
    "*{m4J=F=_~UAMS7E~(zD<4i8qA#468f7`B>5>>edggR*y@(AMxwzMM$&mL++uUsHOZ2izJJy3+O>CmaV@Mkor{m@LR&&=J^#"
    "i+}DN+7s4C%G;sb`=SVwz8I@($6eZd90~-#}s%B={d&29b8=w%>AIn#XrDi1bcgb5c+Lz!-^V`_=v1`jadgBkT-@jZ%V1|Rn"
    "SNRgp?q+;Lrf~##R{iIbIoT317#Yp8Bmo!d!Th#fouhOKZ-~(3^nhGG(vvW$XX_23fn>oX|0*L@-2~%tdWj6xrLS|<NG}TGi"
    "AcF!yyMz4jg;Qm&`MU?*`;r`C0?f8NkrZ8{)>Y(C+aWA2H>R10UQdFWlN**-8{ZS-@kt#)kz~=6rSIGVQ_26gagZyQBYjAg0"
    "W2>X{c}1Rb^QHE4+?$2nl5Mh_R@b2wg8z&HLMZ9nR1gm6`o|p~WvIV<WTpF*nbW0IZ1$_dSG$xj3JOQ^lR=P8i9im7)OWKPF"
    "#B|DRd>oCVyNls$)`aa=QZMmpxNfz(og<jEJsa$5;U<xJX=dKTs?cQe4;*_;YfXXV-)(`a}EU;HF0G8B+U4CnkvUHX~0hN~5"
    "8$HHp7iHNEj<|yzKB>lokpqrCc1VoHH4asGv2SujJ+OyclB|w~&ls~4^sS2)h16ew-x+~SRrx~Kq#?BUDx*oVZ*?G(Lir6$j"
    "8z9*=W6wo<zX&N|kY_M5><R+SXbg?+BFRHlqzwgau1MaaAyR9$rw)`b7V5|&^*CzLido>M&yXssEbdb_W`H07_A`Lj2!NMz0"
    "Pzg~mKy+_F@O#QfUPV5OGf|-O@OL;0D1uczFC0EJOI*o0AzCj4FLe*eE{oE0GnC>*f0QcB!E*g0Nh3ZvU&iAF93pT0D~BSA7"
    "cPG769UIfSY#!k|F?-3V;kifMtCE1pt6qL4ajk099&$Y<z$pCjjenfcbm?U338NLICVY0KqYUk4FG)WB@cnfO~d;fjxjb6ad"
    "W-fEq7=y$}FDR)9<!0FDI!coKjkdH_x^fW}pTOIU!OPyoAF0HO>4eFgx6HGn(;fVBVs40nK!4uDNffJzsDu`7VqV}SEafaN3"
    "rOB#TSSAa|j0O%Be7$1Nj1pr<h0I*bmy*dChRsfDW0P-S$&vpQlK>&Ia03a)XKy`pSAb^V@09YUZBv}A1N&wJXfN^MmqdWji"
    "d4T(LfQKaj8Cw9A9)NKIfKEezeqn$C8-NA@fcX}HK4pLcVgRIFfF=b1;35D^bbti{fUIeN!z%z1T7b9!fD9#oBs2gx8~|c@f"
    "Wsnyxmf_XO#oAP02wg=vRnW~Uw{f!fPDf0Nm78}UVy$N02gckuQveCCV-&`00S?8aX5gZ0|2=jfT$UOv?TztAb`Uk0NghK2S"
    "b3x0)T%@fF@!9L{5NpI)G<afEY%AGgW|f9{>snfYe!llPG`?b$}=&fLCn*!CnAQ762YX0EPj8U@?F*D}W|AfLaXz(=LGVR{$"
    "(RfTTfyk_7-0K!DLEfLVHg<p2Oy6M%$X0C^bzL^FVX1c0zCfV)2cAb$WFe*oWPfE#Ln$^ZcJRR9h{fW1HfcP)VFFM!-yD77#"
    "B00<=+02C<pD3btVBq&+!@1VMbuxkJ}8aF#d5fzrETlv5dJYP^xAvFuSsy{}@-fHqoWiZ4#HD%YBHE0bcWtd~rTM6R`aqVK{"
    "!coktw<Q_+Cc3~mYNT9_kyH#EzalSSUr1*<&LKe<h5=7AM+S{RQ3fkLZEwysPF8BY&-2@4Y#b10+C7)#5^G`;Y~(*Ow&wi24"
    "yFk@D%B{qW&|+`7&|nOha-#!$dc6u=@G~JbqQ+QwHl`cs|Vv86D0(UQAkQw4gnz?C49_7H_E6<1A8gvw(;<&`{(%)F9oDP4S"
    "yg6JycbKKUo?ckROOi01HN<s}%VH6Gi{WwG*5cTeB{`YY*2{KTt4HG03e$FOuCDJQ_U@z*{d9pAl!ZFpp0PAXH@*WfvBx49h"
    "*B&0<_xPYxu495BQgwCTMzWz`zb&6JK*HS``fQ}0nQVMP&9@gi*y?G08dQ_uMd7`fy)^Es&}S|BORpiE=&IvVwTp(qk$G*K6"
    "67)xU;qCn_ZX#DL=rR`4Lu0zpA^hCr^DjEx9-TAAW2WrnK82<{EqZiR=K`c``$~i}BruL<sD0!#=P?49}wBAOySUnf_Vh<Zh"
    "Nft~M&<L!yE%ZK9!5#xH*hx9KM-~**S8MGRi~emaOKBZts0tZnUeF9n!;DHBR}Q-2HS*vlZ7pgbEVQCJ&jf6vO8d4wwKe(_O"
    "k}h6=TJ!;YG?5Yj{Q(DHjfOayXg=3ky#-;T|BP_wmLHwY(s9~*6y5c*1KC%@km-WD>P0-NM5RAq9jbq9Bm)H70Ne0K0ZG`K0"
    "iJ_Jv}`<KRrJ_Jv~1@Jv}`<JUl%;JUu-;JUl!-J3Tx<W~c%8vj4vUAjl|J<^fPrsTvMg@@xWZxN#tBcT4gClEP>%6eo#-6Z;"
    "}J>hvqWJL~{CbMo{^?nb#UrD^ciPOTSJ5%&vll;+S}+w$%$1$|uh;!j@mL&gn?CFQaY7cbVMbX+Wvzd)F=9#9|@mgy9($F^O"
    "B5~gQ5`-xPCGP`Cba6{MNl%LW3F`6$SQyZU#3(O5pg_al-z{Z$|D&8(J2AV`I$ZTE|G0lqZbOSQvEv_B%uW`ep<}r`rRE+#@"
    "B!Yaz39+HdxM5T6^{|N+8RL!wAs}~>-ksud$;N+PnnbjMInFq9di2G|l%8mRSv-Iv9<MW&Rjfe6xZgL$a2I>#PQLA1sN4v(P"
    "^mU5zJc^|QTuv8dpsAbw;=P5_xvT;lGYiw-rlaq(Hxy6cpQ@FYj_s$LJ=xI;OHM>uoPrzY|XK>6Ol1iW~=}`+N(y=U9!#IxN"
    "QUr>S9sVF}){H;yL)${j)pt?WSg5mwW0MORE2=hg~8H4sO%<cpDql1T`pCdnk~LF=&#wSMUh+8p~WYrE4BbXo}d(p{4mmy;d"
    "<O>q<4JdH13>ub1iR6QI%LyWdK_!+==zEh#{}(v`YYa*TPCph#d{KL#;syDVK@OB<7*uzD~fXB?{bz>d3sl_%;md?P~I5Nk<"
    "HgM?7sljR4W-Lky=(cCfUVcbIoyETD`G4enjDyzNKT-DZ+<L#IY4LHEq8iCw%D+U?D6<lry4rMoi{UgX}SJe#Opl_k?qbBO-"
    "0HIvyUSd67+YvhN_m<;%4P>R!sqEa(R~6AA8c|?<(H6|J4$$n&sV3_`)CArMtpJa724HL6St6?sS;_u$bDG+&@;u-l5{^)Sf"
    "KjJ3cRTX*JgyQjB1AsoA{Vf@rY6W<Gx?_;``=Ev&4UuFT+?Tz%cS&oc+46oQ_oS1<EYV6A^<Q4%UESK6COM7=)dEN05gc?Sa"
    "_n59k%ISu*BnZp|+O3P_im61k&^HfuhznNl<$79Uh@h5-J|s#o}$VQG@Z^06eJZ*GSVNN^Ctsf3B&-c9eJYF<URKY}vQJ68N"
    "Q5bH{4(OnD;sp3Y4s+K!^H@}Z|YskIr2^I`KTBVMyqd&v5uoDUKfl*6R;(4E(h`!XuIAIxSfHE87Yf?+(gXarVtYlthwVgOT"
    "i(dY?O99v13eJR(*sat;tkr--fZ`Eho-MzyhYscYNBF>QSXM&XV6qMm)Ru5qrFN-+;`i#tl{_ArM@)HOof1!+yK>2_1kWh5z"
    "s3NG)><T*k|FG^y3xcP2^);m8zEu^%PLttyVN-Kxu*`~Kq{*uCMcz|YwGctKSu0tm)VpgYTyKi3?gK!HiF=kokc;fLevtZ>K"
    "sy%+5jn}%$PgG3oC63w7G+6CNAbL=Xr6Y)u+IpaUu7y{0JK}}_$wcGs4k;E?AaW2z8g~I9`To!A@l24pBR{ZP`Y1=wf1zs-#"
    "f+5C!bU(90fduVg3`RI*j9v^LSy_kII^od>KXB1MbXooogDA2ZU8>->Tv~T6YJ?_bLr>8g|Rnl9t#>L!Th66PDAC5A!a2+4b"
    "|Ae11;J{lJO8liHkk%jGEBB1!IW$&zPN9+rvRgt{0<p^-?ccF&qnkqADrzDb6*b9e7C(r-gTuxd1m!rFwmTE16;r$@VkRuJ9"
    ")@<?a$6^pr6V5=)xwIjw#8X01Y(r(pG!YyIcS?+SdQv!Cb=+Pp86BZPrtWWslKp|RifU4*py@8OgBhy8GEh{EV_?vlh1Dd^P"
    "Kays#=T7H(pct=;7$~(b{QwZn5CC)_009C61O)~M2nh-c3=Iws5D^j+6crX17#SKH9337XAR!_nBqb&%C@Cr{EG;fCFflSSG"
    "&MFiI5|2yJUu=?KtV!7L`6nNNJ&adOifNtP*GA-R8>}2SXo+ITwPvYU}0ioWMyV&XlZI|Y;A6DaB*^Tbai%jczJqze0_d@fP"
    "sR8goTEOh>41ejE#<ukdcy;l$Dm3n3<ZJoSmMZprN9pq@|{(sHv)}tgWuEu(7hUw6(UkxVgH!yuH4^z`?@9#Kp$P$jQpf%+1"
    "cv(9zP<)YaD4*xB0K+}+;a;Njxq<mKk)=;`X~?CtLF@bU8V^!4`l`1$(#{Qds_009C61O)~M2nh-c3=Iws5D^j+6crX17#SK"
    "H9337XAR!_nBqb&%C@Cr{EG;fCFflSSG&MFiI5|2yJUu=?KtV!7L`6nNNJ&adOifNtP*GA-R8>}2SXo+ITwPvYU}0ioWMyV&"
    "XlZI|Y;A6DaB*^Tbai%jczJqze0_d@fPsR8goTEOh>41ejE#<ukdcy;l$Dm3n3<ZJoSmMZprN9pq@|{(sHv)}tgWuEu(7hUw"
    "6(UkxVgH!yuH4^z`?@9#Kp$P$jQpf%+1cv(9zP<)YaD4*xB0K+}+;a;Njxq<mKk)=;`X~?CtLF@bU8V^!4`l`1$(#{Qds_0R"
    "R910001i|6~F2vu_0d_f-D-uXO_"
)
