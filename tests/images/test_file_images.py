import os
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model_compression.images import ImageSourceError, file_images
from model_compression.images.file_images import Chunk, FileImages, chunks, process_cores
from model_compression.pictures import PixelFormat


def files(folder: Path, count: int = 23, workers: int | None = 1) -> FileImages:
    generator = np.random.default_rng(0)
    names = [f"{number:02}.png" for number in range(count)]
    for name in names:
        pixels = generator.integers(0, 256, (9, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return FileImages(folder, names, np.arange(count), PixelFormat(8, None), workers=workers)


def joined(found: list[Chunk]) -> np.ndarray:
    return np.concatenate([chunk.pixels for chunk in found])


def test_the_pixels_are_the_same_whoever_decodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = files(tmp_path, workers=2)
    (tmp_path / "07.png").write_bytes(b"")
    (tmp_path / "22.png").write_bytes(b"x")
    alone = list(images.decoded(0, 4))
    monkeypatch.setattr(file_images, "_POOL_PAYS_FROM", 0)
    shared = list(images.decoded(0, 4))
    np.testing.assert_array_equal(joined(shared), joined(alone))
    spans = [(start, min(start + 4, 23)) for start in range(0, 23, 4)]
    for found in (alone, shared):
        assert [(chunk.start, chunk.stop) for chunk in found] == spans
        assert [one for chunk in found for one in chunk.unreadable] == [
            (7, "the file is empty"),
            (22, "not a picture of a known format"),
        ]
    np.testing.assert_array_equal(joined(alone)[:7], images[:7])


def test_decoding_begins_where_it_is_told_to(tmp_path: Path) -> None:
    images = files(tmp_path)
    np.testing.assert_array_equal(joined(list(chunks(images, 8, 4))), images[8:])
    assert list(images.decoded(23, 4)) == []


@pytest.mark.parametrize(
    ("workers", "pays_from", "by"), [(1, 0, 0), (2, 1e9, 0), (3, 0, 3), (None, 0, 5)]
)
def test_processes_are_started_only_where_it_pays(
    workers: int | None, pays_from: float, by: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def decoded_by(self: FileImages, workers: int, *_: object) -> list[Chunk]:
        asked.append(workers)
        return []

    monkeypatch.setattr(FileImages, "_decoded_by", decoded_by)
    monkeypatch.setattr(file_images, "_POOL_PAYS_FROM", pays_from)
    monkeypatch.setattr(file_images, "process_cores", lambda: 5)
    list(files(tmp_path, workers=workers).decoded(0, 4))
    assert asked == [by] * (by > 0)


def test_cores_are_those_that_this_process_may_use() -> None:
    allowed = os.sched_getaffinity(0)
    assert process_cores() == len(allowed)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert process_cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)


def kill_oneself(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_worker_is_an_error_that_tells_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_images, "_POOL_PAYS_FROM", 0)
    found = files(tmp_path, workers=2).decoded(0, 1)
    next(found)
    monkeypatch.setattr(file_images, "decode_files", kill_oneself)
    with pytest.raises(ImageSourceError, match=r"was killed.*fewer data\.source\.workers"):
        list(found)


def test_a_choice_of_a_choice_names_the_right_files(tmp_path: Path) -> None:
    images = files(tmp_path)
    chosen = images.select(np.array([5, 1, 9])).select(np.array([2, 0]))
    assert [chosen.path(position).name for position in (0, 1)] == ["09.png", "05.png"]
    np.testing.assert_array_equal(chosen[:], images[np.array([9, 5])])
