"""Packed and unpacked from the shell: the very same file, and no file is lost."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from model_compression.commands import pack, unpack


@pytest.fixture
def run():
    def call(command, *words):
        return CliRunner().invoke(command, [str(word) for word in words])

    return call


def test_there_and_back(model, tmp_path):
    for words in (["pack", "model.onnx"], ["unpack", "model.mcpack", "--to=again.onnx"]):
        subprocess.run(
            [sys.executable, "-m", "model_compression", *words], check=True, cwd=tmp_path
        )
    assert (tmp_path / "again.onnx").read_bytes() == model.content
    assert (tmp_path / "model.mcpack").stat().st_size < len(model.content)


def test_the_file_that_is_written_is_named_with_its_size(model, tmp_path, run):
    done = run(pack, tmp_path / "model.onnx")
    packed = tmp_path / "model.mcpack"
    size = packed.stat().st_size
    assert done.stdout == f"{packed}: {size:,} bytes, of {len(model.content):,}\n"


def test_nothing_is_written_over_unless_it_is_asked_for(model, tmp_path, run):
    run(pack, tmp_path / "model.onnx")
    done = run(unpack, tmp_path / "model.mcpack")
    assert done.exit_code == 1
    assert "model.onnx is there already: name another with --to" in done.stderr
    (tmp_path / "model.onnx").write_bytes(b"other")
    assert run(unpack, tmp_path / "model.mcpack", "--force").exit_code == 0
    assert (tmp_path / "model.onnx").read_bytes() == model.content


def test_a_damaged_container_is_refused_by_name_and_nothing_is_written(model, tmp_path, run):
    run(pack, tmp_path / "model.onnx")
    packed = tmp_path / "model.mcpack"
    packed.write_bytes(packed.read_bytes()[:-7])
    done = run(unpack, packed, f"--to={tmp_path / 'again.onnx'}")
    assert done.exit_code == 1
    assert f"{packed}: The container is truncated or altered" in done.stderr
    assert not (tmp_path / "again.onnx").exists()


def test_what_is_no_onnx_file_is_not_packed(tmp_path, run):
    (tmp_path / "model.onnx").write_bytes(b"text")
    done = run(pack, tmp_path / "model.onnx")
    assert "Expected an ONNX file to pack" in done.stderr
