from pathlib import Path

import pytest

from model_compression.files import atomic_write


def test_a_written_file_appears_with_its_folders(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "file.txt"
    with atomic_write(target) as path:
        path.write_text("whole")
    assert target.read_text() == "whole"
    assert [entry.name for entry in target.parent.iterdir()] == ["file.txt"]


def test_nothing_shows_at_the_target_before_the_end(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    target.write_text("old")
    with atomic_write(target) as path:
        path.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"


def test_an_error_keeps_the_old_file_and_leaves_no_temporary(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    target.write_text("old")

    def write_half() -> None:
        with atomic_write(target) as path:
            path.write_text("half")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        write_half()
    assert target.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.txt"]


def test_an_error_before_anything_was_written_is_the_error_that_is_seen(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="at once"), atomic_write(tmp_path / "file.txt"):
        raise RuntimeError("at once")
    assert not list(tmp_path.iterdir())


def test_forgetting_to_write_is_an_error_and_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "file.txt"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_reader_that_holds_the_old_file_open_keeps_reading_it(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    target.write_text("old")
    with target.open() as reader:
        with atomic_write(target) as path:
            path.write_text("new")
        assert reader.read() == "old"
