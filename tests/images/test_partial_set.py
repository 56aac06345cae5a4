import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from model_compression.images.file_images import Chunk
from model_compression.images.partial_set import PartialSet

SHAPE = (10, 1, 2, 3)
PIXELS = np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)
# Position 4 is unreadable: the second chunk has one row less.
CHUNKS = [
    Chunk(0, 3, PIXELS[0:3], []),
    Chunk(3, 6, PIXELS[[3, 5]], [(4, "empty")]),
    Chunk(6, 9, PIXELS[6:9], []),
    Chunk(9, 10, PIXELS[9:], []),
]


def partial(
    folder: Path,
    identity: str = "these",
    step: int = 3,
    still: Callable[[int], bool] = lambda _: True,
) -> PartialSet:
    return PartialSet(folder, identity, SHAPE, step, still)


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    with partial(tmp_path) as unfinished:
        for chunk in CHUNKS[:3]:
            unfinished.append(chunk)
    return tmp_path


def finish(folder: Path, expected_done: int) -> None:
    with partial(folder) as unfinished:
        assert unfinished.done == expected_done
        for chunk in CHUNKS:
            if chunk.start >= expected_done:
                unfinished.append(chunk)
        assert unfinished.unreadable == [(4, "empty")]
        unfinished.put_in_place(folder / "whole.npy")
        unfinished.remove()
    np.testing.assert_array_equal(np.load(folder / "whole.npy"), np.delete(PIXELS, 4, axis=0))
    assert [path.name for path in folder.iterdir()] == ["whole.npy"]


def test_what_was_written_is_taken_up(begun: Path) -> None:
    finish(begun, 9)


def pixels_of(folder: Path) -> Path:
    return folder / ".unfinished" / "images.npy"


def journal_of(folder: Path) -> Path:
    return folder / ".unfinished" / "journal.jsonl"


def flip(path: Path, place: int) -> None:
    with path.open("r+b") as file:
        file.seek(place, os.SEEK_END)
        byte = file.read(1)[0]
        file.seek(place, os.SEEK_END)
        file.write(bytes([byte ^ 1]))


def append(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content)


@pytest.mark.parametrize(
    ("harm", "trusted"),
    [
        (lambda f: append(pixels_of(f), b"half a chunk"), 9),
        (lambda f: append(journal_of(f), b'{"stop": 10, "rows": 1'), 9),
        (lambda f: append(journal_of(f), b'{"stop": 10, "rows": 1, "digest": "", "unre'), 9),
        (lambda f: os.truncate(journal_of(f), journal_of(f).stat().st_size - 1), 6),
        (lambda f: os.truncate(pixels_of(f), pixels_of(f).stat().st_size - 1), 6),
        (lambda f: flip(pixels_of(f), -1), 6),
        (lambda f: flip(pixels_of(f), -3 * 6 - 1), 3),
        (lambda f: flip(pixels_of(f), -5 * 6 - 1), 0),
        (lambda f: os.truncate(pixels_of(f), 0), 0),
        (lambda f: os.truncate(journal_of(f), 5), 0),
        (lambda f: pixels_of(f).unlink(), 0),
        (lambda f: journal_of(f).unlink(), 0),
    ],
)
def test_half_written_and_changed_chunks_are_never_trusted(
    harm: Callable[[Path], object], trusted: int, begun: Path
) -> None:
    harm(begun)
    finish(begun, trusted)


def test_other_images_other_chunks_or_another_pil_start_over(
    begun: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, identity, step in ((begun, "others", 3), (begun, "others", 4)):
        with partial(folder, identity, step) as unfinished:
            assert unfinished.done == unfinished.rows == 0
            unfinished.append(CHUNKS[0])
    monkeypatch.setattr("PIL.__version__", "0.1")
    with partial(begun, "others", 4) as unfinished:
        assert unfinished.done == 0


def test_a_file_that_can_be_read_by_now_is_decoded_with_all_after_it(begun: Path) -> None:
    with partial(begun, still=lambda position: position != 4) as unfinished:
        assert unfinished.done == 3
        assert unfinished.unreadable == []
