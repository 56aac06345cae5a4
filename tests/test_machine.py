"""A processor's name, of what Linux says of it."""

import platform

from model_compression.machine import processor


def test_two_generations_of_one_name_are_told_apart(tmp_path):
    older, newer = tmp_path / "older", tmp_path / "newer"
    older.write_text("processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu sse2 avx2\n\n" * 2)
    newer.write_text(
        "model name\t: AMD EPYC\nflags\t\t: avx2 avx512f avx512_vnni avx512_bf16 sha_ni\n"
    )
    assert processor(older) == "AMD EPYC (AVX2)"
    assert processor(newer) == "AMD EPYC (AVX2, AVX-512, VNNI, bfloat16)"


def test_an_extension_with_two_flags_is_named_once(tmp_path):
    info = tmp_path / "info"
    info.write_text("model name : Xeon\nflags : avx_vnni avx512_vnni amx_tile\n")
    assert processor(info) == "Xeon (VNNI, AMX)"


def test_a_processor_without_a_name_is_called_as_its_architecture(tmp_path):
    info = tmp_path / "info"
    info.write_text("processor : 0\nFeatures : fp asimd asimddp i8mm bf16\n")
    known = platform.processor() or platform.machine()
    assert processor(info) == f"{known} (dot product, int8 matrices, bfloat16)"


def test_where_nothing_is_told_the_architecture_is_all(tmp_path):
    assert processor(tmp_path / "none") == (platform.processor() or platform.machine())
