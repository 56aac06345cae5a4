import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from model_compression.images import FolderSource, ImageSourceError
from model_compression.images.folder import load_folder
from model_compression.images.raw_images import TrainTest
from model_compression.pictures import PixelFormat

FORMAT = PixelFormat(8, None)


def fill(folder: Path, counts: dict[str, int]) -> Path:
    """Makes one sub-folder per class with pictures whose grey is 10 times their number."""
    for name, count in counts.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            picture = Image.new("RGB", (12, 9 + number), (10 * number,) * 3)
            picture.save(folder / name / f"{number:02}.png")
    return folder


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    return fill(tmp_path / "pets", {"dog": 10, "cat": 20})


def load(
    folder: Path, pixel_format: PixelFormat = FORMAT, seed: int = 0, **source: Any
) -> TrainTest:
    return load_folder(FolderSource(path=folder.name, **source), folder.parent, pixel_format, seed)


def test_sub_folders_are_the_classes_in_alphabetical_order(pets: Path) -> None:
    train, test = load(pets, test_fraction=0.2)
    assert train.classes == test.classes == ("cat", "dog")
    assert np.bincount(train.labels).tolist() == [16, 8]
    assert np.bincount(test.labels).tolist() == [4, 2]
    assert train.image_shape == (3, 8, 8)


def test_each_picture_comes_once_with_its_own_label(pets: Path) -> None:
    train, test = load(pets)
    greys = [
        (int(label), int(image[0, 0, 0]))
        for part in (train, test)
        for label, image in zip(part.labels, part.images[:], strict=True)
    ]
    expected = [(0, 10 * n) for n in range(20)] + [(1, 10 * n) for n in range(10)]
    assert sorted(greys) == sorted(expected)


def test_a_test_folder_is_the_test_set(pets: Path, tmp_path: Path) -> None:
    fill(tmp_path / "unseen", {"dog": 2, "cat": 3})
    train, test = load(pets, test_path="unseen")
    assert len(train) == 30
    assert test.labels.tolist() == [0, 0, 0, 1, 1]
    assert test.images[:][:, 0, 0, 0].tolist() == [0, 10, 20, 0, 10]


def test_grey_pictures_are_made_on_request(pets: Path) -> None:
    assert load(pets, PixelFormat(8, 1)).train.images[:2].shape == (2, 1, 8, 8)


def test_pictures_lie_as_deep_as_they_like_and_other_files_are_ignored(pets: Path) -> None:
    (pets / "cat" / "more" / "kittens").mkdir(parents=True)
    Image.new("L", (9, 9)).save(pets / "cat" / "more" / "kittens" / "x.JPEG")
    (pets / "cat" / "notes.txt").write_text("cats")
    (pets / "cat" / "._01.png").write_text("not a picture")
    (pets / ".thumbnails").mkdir()
    train, test = load(pets)
    assert len(train) + len(test) == 31
    assert train.classes == ("cat", "dog")


def test_nothing_is_decoded_before_it_is_indexed_and_then_the_damaged_file_is_named(
    pets: Path,
) -> None:
    damaged = pets / "cat" / "05.png"
    damaged.write_bytes(damaged.read_bytes()[:50])
    train = load(pets, test_path="pets").train
    assert train.images[:5].shape == (5, 3, 8, 8)
    with pytest.raises(ImageSourceError, match=r"cat/05\.png cannot be read: .*remove it"):
        train.images[4:7]


def test_the_fingerprint_changes_with_a_file_its_name_or_the_format(pets: Path) -> None:
    def now(**source: Any) -> str:
        return load(pets, **source).train.fingerprint

    seen = [now(), load(pets, PixelFormat(9, None)).train.fingerprint, now(seed=1)]
    assert now() == seen[0]
    picture = pets / "dog" / "03.png"
    status = picture.stat()
    os.utime(picture, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    seen.append(now())
    picture.rename(pets / "dog" / "3.png")
    seen.append(now())
    assert len(set(seen)) == 5


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageSourceError, match=r"nowhere is not a folder; set data\.source"):
        load(tmp_path / "nowhere")


def test_a_folder_without_classes_is_named(tmp_path: Path) -> None:
    (tmp_path / "flat").mkdir()
    Image.new("L", (9, 9)).save(tmp_path / "flat" / "x.png")
    with pytest.raises(ImageSourceError, match="flat has no sub-folders; it needs one per class"):
        load(tmp_path / "flat")


def test_a_class_without_pictures_is_named(pets: Path) -> None:
    (pets / "bird").mkdir()
    with pytest.raises(ImageSourceError, match="pets/bird has no images"):
        load(pets)


def test_a_test_folder_with_other_classes_is_an_error_that_names_them(
    pets: Path, tmp_path: Path
) -> None:
    fill(tmp_path / "unseen", {"cat": 1, "fish": 1})
    with pytest.raises(ImageSourceError, match="first: dog; only in the second: fish"):
        load(pets, test_path="unseen")
    fill(tmp_path / "unseen", {"dog": 1})
    with pytest.raises(ImageSourceError, match="first: none; only in the second: fish"):
        load(pets, test_path="unseen")


def test_a_size_is_needed(pets: Path) -> None:
    with pytest.raises(ImageSourceError, match="set image_size"):
        load(pets, PixelFormat(None, None))
