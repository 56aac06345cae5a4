import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_compression.images import (
    ImageSet,
    ImageSetError,
    read_image_set,
    storage,
    write_image_set,
)

MakeImageSet = Callable[..., ImageSet]


@pytest.fixture
def stored(tmp_path: Path, make_image_set: MakeImageSet) -> Path:
    folder = tmp_path / "set"
    write_image_set(make_image_set(), folder)
    return folder


class CountingImages:
    """An image array that keeps a tally of the largest and the number of reads."""

    def __init__(self, images: Any) -> None:
        self.images, self.shape, self.dtype = images, images.shape, images.dtype
        self.reads: list[int] = []

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: Any) -> Any:
        found = self.images[key]
        self.reads.append(len(found))
        return found


def assert_same(left: ImageSet, right: ImageSet) -> None:
    np.testing.assert_array_equal(left.images[:], right.images[:])
    np.testing.assert_array_equal(left.labels, right.labels)
    assert (left.classes, left.fingerprint) == (right.classes, right.fingerprint)


def test_what_was_written_is_read(tmp_path: Path, make_image_set: MakeImageSet) -> None:
    image_set = make_image_set(30, (3, 4, 5)).subset([5, 2, 29])
    write_image_set(image_set, tmp_path / "new" / "folder")
    assert_same(read_image_set(tmp_path / "new" / "folder"), image_set)


def test_images_are_memory_mapped(stored: Path) -> None:
    assert isinstance(read_image_set(stored).images, np.memmap)


def test_class_names_in_any_script_survive(tmp_path: Path, make_image_set: MakeImageSet) -> None:
    made = make_image_set()
    image_set = ImageSet(made.images, made.labels, ("Käse", "猫", "T-shirt/top"), "f")
    write_image_set(image_set, tmp_path)
    assert read_image_set(tmp_path).classes == ("Käse", "猫", "T-shirt/top")


def test_images_are_written_in_chunks(
    tmp_path: Path, make_image_set: MakeImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "_CHUNK_BYTES", 100)
    made = make_image_set(23)
    images = CountingImages(made.images)
    write_image_set(ImageSet(images, made.labels, made.classes, "f"), tmp_path)
    assert images.reads == [5, 5, 5, 5, 3]
    np.testing.assert_array_equal(read_image_set(tmp_path).images[:], made.images)


def test_images_that_are_not_contiguous_are_written_right(tmp_path: Path) -> None:
    images = np.arange(24, dtype=np.uint8).reshape(1, 2, 4, 3).transpose(0, 3, 1, 2)
    write_image_set(ImageSet(images, np.array([0]), ("a",), "f"), tmp_path)
    np.testing.assert_array_equal(read_image_set(tmp_path).images[:], images)


def test_the_same_set_is_not_written_twice(stored: Path, make_image_set: MakeImageSet) -> None:
    made = make_image_set()
    images = CountingImages(made.images)
    before = (stored / "images.npy").stat().st_ino
    write_image_set(ImageSet(images, made.labels, made.classes, made.fingerprint), stored)
    assert images.reads == []
    assert (stored / "images.npy").stat().st_ino == before


def test_another_set_replaces_the_old_one_under_the_feet_of_no_reader(
    stored: Path, make_image_set: MakeImageSet
) -> None:
    old = read_image_set(stored)
    smaller = old.subset([3, 1])
    write_image_set(smaller, stored)
    assert_same(read_image_set(stored), make_image_set().subset([3, 1]))
    np.testing.assert_array_equal(old.images[:], make_image_set().images[:])


def test_a_damaged_set_is_written_again(stored: Path, make_image_set: MakeImageSet) -> None:
    os.truncate(stored / "images.npy", 200)
    write_image_set(make_image_set(), stored)
    assert_same(read_image_set(stored), make_image_set())


def test_a_write_that_dies_half_way_leaves_nothing_that_passes_for_a_set(
    stored: Path, make_image_set: MakeImageSet
) -> None:
    class Dying(CountingImages):
        def __getitem__(self, key: Any) -> Any:
            raise RuntimeError("power cut")

    made = make_image_set(13)
    with pytest.raises(RuntimeError, match="power cut"):
        write_image_set(ImageSet(Dying(made.images), made.labels, made.classes, "new"), stored)
    with pytest.raises(ImageSetError, match=r"meta\.json is missing.*data_preparation"):
        read_image_set(stored)


def edit_meta(folder: Path, **changes: object) -> None:
    path = folder / "meta.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def save_npy(path: Path, array: Any) -> None:
    np.save(path, array)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "meta.json").unlink(), r"no complete image set: meta\.json is missing"),
        (lambda f: (f / "meta.json").write_text("{"), r"meta\.json: not JSON"),
        (lambda f: (f / "meta.json").write_text("[]"), r"meta\.json: expected an object"),
        (lambda f: edit_meta(f, format_version=2), "format_version 1"),
        (lambda f: edit_meta(f, shape="big"), r"meta\.json: expected shape"),
        (lambda f: edit_meta(f, classes=[1, 2, 3]), r"meta\.json: expected shape"),
        (lambda f: edit_meta(f, fingerprint=None), r"meta\.json: expected shape"),
        (lambda f: edit_meta(f, classes=["a"]), r"set: Labels must be.*1 classes"),
        (lambda f: (f / "images.npy").unlink(), r"images\.npy: cannot be read"),
        (lambda f: os.truncate(f / "images.npy", 200), r"images\.npy: cannot be read"),
        (lambda f: os.truncate(f / "images.npy", 0), r"images\.npy: cannot be read"),
        (lambda f: (f / "labels.npy").unlink(), r"labels\.npy: cannot be read"),
        (lambda f: os.truncate(f / "labels.npy", 140), r"labels\.npy: cannot be read"),
        (lambda f: save_npy(f / "labels.npy", np.array([None] * 12)), r"labels\.npy: cannot be"),
        (
            lambda f: save_npy(f / "labels.npy", np.zeros(3, dtype=np.int64)),
            r"labels\.npy: expected int64 of shape \(12,\), got int64 of shape \(3,\)",
        ),
        (
            lambda f: save_npy(f / "images.npy", np.zeros((12, 1, 4, 5))),
            r"images\.npy: expected uint8 .*, got float64",
        ),
    ],
)
def test_a_damaged_file_is_named(
    damage: Callable[[Path], object], message: str, stored: Path
) -> None:
    damage(stored)
    with pytest.raises(ImageSetError, match=message) as caught:
        read_image_set(stored)
    assert "data_preparation" in str(caught.value)
