import copy
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from model_compression.stored_rows import StoredRows, open_rows


def array() -> NDArray[np.int16]:
    return np.random.default_rng(0).integers(-999, 999, (40, 2, 3), dtype=np.int16)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    np.save(tmp_path / "rows.npy", array())
    return tmp_path / "rows.npy"


def large(path: Path) -> StoredRows:
    rows = open_rows(path, mapped_bytes=0)
    assert isinstance(rows, StoredRows)
    return rows


def test_a_small_array_is_mapped_and_a_large_one_is_not(path: Path) -> None:
    size = path.stat().st_size
    assert isinstance(open_rows(path), np.memmap)
    assert isinstance(open_rows(path, size), np.memmap)
    rows = open_rows(path, size - 1)
    assert isinstance(rows, StoredRows)
    assert (rows.shape, rows.dtype, len(rows)) == ((40, 2, 3), np.int16, 40)


@pytest.mark.parametrize(
    "key",
    [
        slice(None),
        slice(5, 9),
        slice(30, 99),
        slice(9, 5),
        slice(None, None, 7),
        slice(None, None, -1),
        np.array([3, 4, 5, 20, 0]),
        np.array([39, 39, 0, 39, 1]),
        np.array([-1, 2, -40]),
        np.array([], dtype=np.int64),
        [7, 6],
        np.arange(40) % 3 == 0,
        11,
        -1,
        np.int64(4),
    ],
)
def test_rows_are_those_of_the_array(path: Path, key: Any) -> None:
    found = large(path)[key]
    np.testing.assert_array_equal(found, array()[key])
    assert found.dtype == np.int16


def test_any_choice_in_any_order_is_read(path_of_many: Path) -> None:
    rows, expected = large(path_of_many), np.load(path_of_many)

    @given(st.lists(st.integers(0, len(expected) - 1), max_size=60))
    def check(positions: list[int]) -> None:
        chosen = np.array(positions, dtype=np.int64)
        np.testing.assert_array_equal(rows[chosen], expected[chosen])

    check()


@pytest.fixture
def path_of_many(tmp_path: Path) -> Path:
    np.save(tmp_path / "many.npy", np.arange(300 * 5, dtype=np.float16).reshape(300, 5))
    return tmp_path / "many.npy"


def test_neighbours_are_read_together_in_the_files_order(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[tuple[int, int]] = []
    real = os.preadv

    def counted(descriptor: int, buffers: list[memoryview], place: int) -> int:
        reads.append((place, sum(map(len, buffers))))
        return real(descriptor, buffers, place)

    rows = large(path)
    monkeypatch.setattr(os, "preadv", counted)
    rows[np.array([20, 4, 2, 3])]
    begin = path.stat().st_size - array().nbytes
    assert reads == [(begin + 2 * 12, 3 * 12), (begin + 20 * 12, 12)]


def test_what_the_system_gives_in_parts_is_put_together(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.preadv
    monkeypatch.setattr(os, "preadv", lambda d, buffers, at: real(d, [buffers[0][:7]], at))
    np.testing.assert_array_equal(large(path)[:], array())


@pytest.mark.parametrize("key", [np.array([40]), np.array([-41]), 40, np.ones(3, bool), [0.5]])
def test_a_row_that_is_not_there_is_refused(path: Path, key: Any) -> None:
    with pytest.raises(IndexError):
        large(path)[key]


def test_a_file_that_is_replaced_is_still_read_as_it_was(path: Path, tmp_path: Path) -> None:
    rows = large(path)
    np.save(tmp_path / "other.npy", array() * 0)
    (tmp_path / "other.npy").replace(path)
    np.testing.assert_array_equal(rows[:], array())
    np.testing.assert_array_equal(copy.deepcopy(rows)[:], array())


def test_a_file_that_is_cut_off_is_refused_when_opened_and_when_read(path: Path) -> None:
    rows = large(path)
    os.truncate(path, path.stat().st_size - 3)
    with pytest.raises(OSError, match="before its last row"):
        rows[:]
    with pytest.raises(ValueError, match=r"expected \d+ bytes, got"):
        open_rows(path, 0)


def test_a_file_that_is_no_array_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(b"nothing of the kind")
    for limit in (0, 100):
        with pytest.raises(ValueError):  # noqa: PT011 - NumPy's words
            open_rows(tmp_path / "x.npy", limit)


def test_the_descriptor_is_closed_with_the_rows(path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    rows = large(path)
    rows[:3]
    del rows
    assert len(os.listdir("/proc/self/fd")) == before


def test_reading_everything_leaves_nothing_in_memory(tmp_path: Path) -> None:
    def resident() -> int:
        status = Path("/proc/self/status").read_text()
        lines = [line.split() for line in status.splitlines()]
        return sum(int(words[1]) for words in lines if words[0] in ("RssAnon:", "RssFile:"))

    np.lib.format.open_memmap(
        tmp_path / "big.npy", mode="w+", dtype=np.uint8, shape=(2**15, 2**11)
    ).flush()
    rows = large(tmp_path / "big.npy")
    rows[:64]
    before = resident()
    for start in range(0, len(rows), 512):
        rows[start : start + 512]
        rows[np.arange(start, start + 512)[::-1]]
    assert resident() - before < 16 * 1024  # KiB, of 64 MiB read twice
