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
    content = model_of(a=np.zeros(2_000_000, dtype=np.float32))
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


BYTES, MIXED_BYTES, MIXED_QUARTERS = (bytes([kind]) for kind in (0, 1, 5))


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
        # A bomb of Zstandard's.
        bytes(1 << 27),
        # Many cuts of nothing.
        varint(100_000) + cut(BYTES, 0, 256, 0, 1, 1, 1, 0) * 100_000,
    ],
)
def test_bombs_end_soon(head):
    began = time.process_time()
    with pytest.raises(PackingError):
        unpack(forged(2**20, head))
    assert time.process_time() - began < 10


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
    "O+!#YLrVe*en#2a&I>RLqh6c>0JR4GMx7a){xf_@78exN!PYIhxsVgpKOnzIHA|Z*h68Q6gpOIa#0qk%Uexuw3g3W{"
    "ZfhzaPBjHl!3TnS^H;`By3E^)=_)Q$<&|COu5EQ6PDlx`9k&L7yZftjQZP>cXM~Puw7in1(%8a{kN08@j39~>T((~9"
    "m+ui580#c@_Ops0Z?oyEBOZP$wF}_1O~fk|3ZdY4?sxvoLK?d`sMJt@#SxbN(*e_MEjla_HW<OAPVmP?0rpm}QQUq~"
    "VU@w1*Zm>(U%UC$7n`A5{a|+DEg)pAn&lbY+spFQbaX%660#MFR4{S^-rI@}aBhZ6s1&J(isb~6gDn`%!P^fB48L>v"
    "6!cMuUXc|@(3BLZeqvw9ain!9ujAu59JI&WucA=~wlwy~-=^(>fiVB(k}sii>o=@w5Bl|m41M0Frh(5gOicdcHly@y"
    "{jZl^PplNO|D}x=GjOxKGi>)~kte`pZivm5NS04q`-A0l{gSwjmtv!vI98%$(C}H$Um83ojZ+*Z)Z2fBcqQ>D6*mXC"
    "%w0mA<ALnFBdq^76V3kqe#FoaoWMH@Qs>oY{-rFOOU$Xr8Gx~HOt>3_J}=YgFv+?-=&de<3>0uQ(UQD1^onOaydA)6"
    "&D?bG;d8jU3j|6M1%T=yD?A_v$uQut-%kw>a#=qqB2sesW~{7sQ)vk0h9&NUL}x_KNeY>Ah3KC+?MgU-GtXeiE1H{H"
    ";OK?2rg!~cTvAyDnbS)_9c`nrYu(o^;qu44o85u#Erl2ftg1nxw<@7=D$=&Nz1QsYkqI2}D8yJwQzeWkk&l&hTtmBs"
    "6Y+|4HInX)0KW>|>Mcr7u6svq^}FwuY&_?St%9zLw4pu+${$-I?yM?CC;O_>>k<-4bwFYiloUzf2lFk9QiOvsQ+m?w"
    "n&4?ja}TjRzhO_Id_+VHhhDi;J9geR;E|U)8zIVJcoh~Wp%~DSr5edl>?1L4W04A+Duv7XeEBqp!-sRtBG&_E_Nl#O"
    "VX$VU{TozRk-)bmpS<Gla!ew_-dXqw=r^w}#t>uU2>;&fYMF1q`l(*D6QJ*(ZnwN$0QNJ0*9d@@ascrS0G1m7oiTt8"
    "1%RzA082*z3Qd5jdH{L>0KQp($~*wlcmQN`01W{E;e7z>PXL=*0N5}9awLFLG63900J3@jhc5tvYXE~7fFEN3I2Hin"
    "Zh)J20FojAk_vzfK!9a^00jVmSwVnhTmV&SfNXq#A146obAb7L09|wd??M3VNC3exfR9H2ZDas6Lx6jBfPp=LI}`xT"
    "5P%vlfV~g^KURQD8vu?40C*CBBYFT%Fo4EYfJ<0_o=^b0SOB670DT4kf;E6V0f4mt01S74j}CxMO@K-lfUzrp)?<M4"
    "On~Ji081Kxi&ub52>|F6fEXWuAO!$k9RRRYfW0~ZGgbhOI{@+`fX{XSlR*G_696D9fIxMCJ0O6IAplq)03=xeE=mB<"
    "TYzzBfTKJBOnHF&bbyB?02x~Vl^%d`0)S3KfPP_s0ULk@0f6}yfIek_0%8E9U4SM90N^43OLTw*0)VV(fWs>Q5?X+`"
    "0Duf7fFv{kI2-_Cd4R(rfVo)!xJ>|4cmNqO0J2;FMPGmlRDgW~07+7S;a-5gBmfs|0IxRy&nAGO2mk{wfN?m0qXPiB"
    "8-S=8fV3q5vLJxN9{}7p00%>W#R7nTOMoU~07OoJbvl4&SAZBsfHPHqbsqo<2!PaCfRiYI5OshkB!E|K0Kr}WPZj_k"
    "LI8#VfM79zGb?~5IDlFW0Mjmj@mByWLV%<}fRY6O6F`8`CV*LbfaL%HRuh1PUI2L+07Nr@eguH9EP%T|03d$=8h-%a"
    "WPlrLfXV;>@>Kv1Lx8<N0Cz2b=`VoXS}3(I{Qw9h82}V0_9&A8V<ae9?eCzvgs^J>HySrPMG+O2rd#>I5j<Z|Pa!o6"
    "x~e}$$KGo4OJy*`IyGh2m^Ek(CS{mo(_0DS2yyLV<ib(RtG6W?`X;)-IclU_j*(Oh9KRwjU|&dQI?f?M7={5)Ge-uE"
    "Kv4!OJ#BB!HBMG)z0dR8WNaJ|XWBiN<PvLQ6Kv!^GPdUYybh)bIx5vDwq^t|3K%;ykcT6T2gs7u2k8;V`gI9v+qD{}"
    "1gi(*91|r3j8RBRRt^Cn93_0rLpRE(NdtQ+=C<+hsQc&n5ibR#Kn;H&1U*z$f<IXr9*`f1NdOB*qN^170ux35$F&oj"
    "7F)9}y=xEGR6kHKQ8CD^Lobru7(5z155QY56Q2=hwJ?uQ3LsQv7G)O}s0_<Jpv_`jSx*imf*df!8MNuWHf7Zs&&`yM"
    "R5kP-HdF6WFkwXzQSl;e5bX_CD^t(;3K+TMIP*EFCt4sW%%DtT@j4pyeW554WHeD1X&6gmETTZ@S7`k0Or`Bk-L6B?"
    "M)X9)P%0V=WZn6zoCj*pC>Z|=mZKNZXhAGfI?6dmYNqz3ohW&z08o*a*|gq9w^%(F_hJtlNl6w=70?K*wk`BNQ^6hs"
    "F4##qxJMQg(^qTl6^s6DEK6w}WvB`nWnRz>OT&yx8&?jx;WhH$CT%ThAS|?^I?n`bqe}a>J+(FZ6ij5Z_UBMZ9BOCr"
    "36A|xFgA}2r@QG7_>oy5JY77m2DUmg7HmUq;MVS(Zq~b7Q}IYzHY+qvL`Yt$W1=KX%N%VVy%owgK0ZD_KR!P`K0Q4>"
    "JU=}@K0Q4@K0Q4>JUl!-Jv==<JUl!+Jv%)-KW3-__p<-L0U*dISLOjwQmGmaSn_NFY`AeCYj;cX0g}RKE)*w;f)o29"
    "H|q2&zdP&zIdk&#NbW|tFQsYl)=sS#RT1|KaFpiIT-);QEd_mC_To=o^h3rCiY4W;4;L@iqjX#>k-tEgu^vz$6qe}}"
    "uE(}rgc7D_I{S%KhcdfnCU8U7;FO=y{4ts@AyXTlh6~IMPKA~j6TrrphbrDKF$S7MEy!$M6fw<;?sNk(<Snip@~?5j"
    "qvkP>;#7?MZzO_z#0jyX%D7=u?e(yU78&D?1R)@IlHQ%-a>>SjUYbO-f;rAOb9(f}$CRFEe_1?$BOb3amQ}1k!?@o!"
    "#c&sU=1#utTd3R!wNR-xD!zgAa#8zwKzlqFtG6KYj`#c}*pk*6x8B~a$I%>}C3qZ?=WBQt@InzPKj7#eVz3lsX>850"
    "v=fmrR%WaKJ=&{A(p|F6-neZ93+iG~)iJ#%P~tiG)%~+O^zEi*UzdC87)z@EsfS%63Jz}5_;?!|)dV#tReLCqi!o@D"
    "xL5E9^%~1uHKl7FOK6JN%%P?EM7>rqDC<f!r+N3HH?NoJ=@X#Q<h$QWzQcf6^(`qtywa7rRC0`Ylb}doT|WjfYP&35"
    "T}vC2ps;!{BWE0{_P~z2fR!ieGkhaL+7N3=OoN0_-IL`9pWU*&{L$Po=waML2D>$Zh%xd&9xAK7)m+uqlH=`|4GlQJ"
    "*cyS{b1McJ!WCR@2M%R7f&C-MX;;+@-k@)x@1rK_=K!Hx=w4zyUfU5m@AsDDc@1Qx(W&g*&sP=EAsSI&ebE-ovkuVg"
    "%c&;oKhy-?39SH+bOvB+-dQ564_V3nb90*7uJSzK9}<pGfPhh_G<Q4l^gON-Fd{@g;vyHYxTYq^UNiZp9{b-;xy^$T"
    "t6bA(rOTxBcX-SiC{xc-jN_=$QX&8_2g_JxH4`2?@94kdiU2c+<yd&4ksY?_Ua-XDbfLDEzEH9%E(Fr^@PVS%Hc3!="
    "@*N(bP7*2}+r{E-vr&Wb+yFeN=+{WoBT8&NLVvEQ#CDW-^f6m6t!&x1zY_SRRCC8_@=SRm_@2&9CfbgoukxX%JE^r9"
    "iSuFeDI;F9RC~z!qnr;C7L>!J_0XNykNYwzxgX4CEH!B4^nzhLv}goYbZdw!#bN+ccG2hwR2*ALmwhSM#;IF>2$2|S"
    "YH!tN+TFdwA#2CsS0c`k?`MLP^%RuhWL6Jh883@C|N4x~h5qYv4e}ERB!8idjzIZ;@sLn-=cpp6(Ci92{Qt1-M+<_d"
    "cl9--;=WZC!cLRncwtj>Xt2zRVWi2b@<rZLRkaX7w^=J$r_{S^CR}fdtnLFqiHUobL6D2=wtkTMmOwif2@yHT*T@hU"
    "5}X4FJr-q2M@R9zsc4>d#<0%_n_p!rVgR&T?f5Gncc?C-KJ3{XbiNx><sR{umLc=&Sf3b}eNehzinaE1zu!B>&L^K#"
    "C>#Ymg<<{^r#g(|j`Mh7){n}Xl6)CO+5_&)bDe7%kq3lTYTv5jJX&`L$oDD@aT<2Z)RLCiNkg9?trM2hjt}!Ld)f8#"
    "n|yvw$^F2IzmwXWc+2G|+agKsaLJNqQy!Ly+=RLqN1>5Os&>zsP>~2evc5@%wsUvyG16~CLa=Hyi^AH3xLUqff~QBj"
    "gH{mT|MEy@@)e7@R$!|uS+yg^N*WnrjM8q^PQoo=)LHIw!BYZuuISMsfD;xJqO4E&<Uk=>aDb}lAH9K)uOrh%el05|"
    "OZc04as!&ZXg`u>vFA?bdY~AuiWn%hFZ}=z%@6=|AOHaZ0|W&I2M7rY3k(eo4-gR&6BHE|7Z@2D8yp=TA0QzjBP1mz"
    "CnzZ@D=aN8FEBAOGc+|eH#j*uJ3Ku;KR`i3LqtVJM@UIZOH55pPf$@(Q&d$}S6EqETU=dUUtnQkV`OD!XJ~0^Yiw<9"
    "Z*XyPb98lfcX)YvdwhL<e}I94gM@{Khlq)ai;RtqkC2g)la!T~mzbHFo1C4VpP-?lqok##r>Lo_tE{cAuduPQv$VCg"
    "x45~wyS%-=zrex5!^FkL$H>Xb%goKr&(P7*)6~`0*Vx(G+uYsW-{9fm<K*S$=jiF`>+J3B@9^>R^Yr!h_xSnx`~3a>"
    "{{R630|W&I2M7rY3k(eo4-gR&6BHE|7Z@2D8yp=TA0QzjBP1mzCnzZ@D=aN8FEBAOGc+|eH#j*uJ3Ku;KR`i3LqtVJ"
    "M@UIZOH55pPf$@(Q&d$}S6EqETU=dUUtnQkV`OD!XJ~0^Yiw<9Z*XyPb98lfcX)YvdwhL<e}I94gM@{Khlq)ai;Rtq"
    "kC2g)la!T~mzbHFo1C4VpP-?lqok##r>Lo_tE{cAuduPQv$VCgx45~wyS%-=zrex5!^FkL$H>Xb%goKr&(P7*)6~`0"
    "*Vx(G+uYsW-{9fm<K*S$=jiF`>+J3B@9^>R^Yr!h_xSnx`~3a>{{a9100000f&XLy@w0CP|Myh>`>%Ba"
)
