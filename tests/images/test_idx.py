import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from model_compression.images import IdxSource, ImageSourceError
from model_compression.images.idx import load_idx, read_idx
from model_compression.images.raw_images import TrainTest
from model_compression.pictures import PixelFormat

AS_IT_IS = PixelFormat(None, None)
EMBEDDED = Path(__file__).parents[2] / "data/01_raw/fashion-mnist"
TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
Arrays = dict[str, NDArray[np.uint8]]
PackIdx = Callable[[NDArray[np.uint8]], bytes]


def load(folder: Path, pixel_format: PixelFormat = AS_IT_IS, **source: Any) -> TrainTest:
    return load_idx(IdxSource(folder=folder.name, **source), folder.parent, pixel_format)


def write_sums(folder: Path) -> None:
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in folder.glob("*.gz")
    ]
    (folder / "SHA256SUMS").write_text("".join(lines))


def test_images_and_labels_are_those_of_the_files(idx_folder: Path, idx_arrays: Arrays) -> None:
    train, test = load(idx_folder)
    np.testing.assert_array_equal(train.images[:][:, 0], idx_arrays[TRAIN_IMAGES])
    np.testing.assert_array_equal(train.labels, idx_arrays[TRAIN_LABELS])
    np.testing.assert_array_equal(test.images[:][:, 0], idx_arrays["t10k-images-idx3-ubyte"])
    np.testing.assert_array_equal(test.labels, idx_arrays["t10k-labels-idx1-ubyte"])
    assert train.classes == ("0", "1", "2", "3")


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: f"{name}.gz",
        lambda name: name,
        lambda name: name.replace("-idx", ".idx"),
        lambda name: name.replace("-idx", ".idx") + ".gz",
    ],
)
def test_files_may_be_gzipped_or_not_and_have_a_dash_or_a_dot(
    rename: Callable[[str], str], tmp_path: Path, idx_arrays: Arrays, pack_idx: PackIdx
) -> None:
    for name, array in idx_arrays.items():
        content = pack_idx(array)
        renamed = rename(name)
        packed = gzip.compress(content) if renamed.endswith("gz") else content
        (tmp_path / renamed).write_bytes(packed)
    np.testing.assert_array_equal(load(tmp_path).train.images[:][:, 0], idx_arrays[TRAIN_IMAGES])


@given(array=hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4)))
def test_every_array_of_bytes_survives(
    array: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("idx") / "file"
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    path.write_bytes(bytes((0, 0, 8, array.ndim)) + sizes + array.tobytes())
    np.testing.assert_array_equal(read_idx(path, array.ndim), array)


def test_class_names_come_from_the_parameters_then_the_file_then_the_numbers(
    idx_folder: Path,
) -> None:
    (idx_folder / "classes.txt").write_text("Ä\nb c\n\nd/e\nf\n", encoding="utf-8")
    assert load(idx_folder).test.classes == ("Ä", "b c", "d/e", "f")
    assert load(idx_folder, classes=list("wxyz")).train.classes == ("w", "x", "y", "z")


def test_images_are_brought_to_the_format_when_indexed(idx_folder: Path) -> None:
    train = load(idx_folder, PixelFormat(8, 3)).train
    assert train.image_shape == (3, 8, 8)
    assert train.images[np.array([3])].shape == (1, 3, 8, 8)


def test_the_fingerprint_changes_with_whatever_changes_the_set(
    idx_folder: Path, idx_arrays: Arrays, pack_idx: PackIdx
) -> None:
    whole = load(idx_folder)
    assert load(idx_folder).train.fingerprint == whole.train.fingerprint
    seen = {
        whole.train.fingerprint,
        whole.test.fingerprint,
        load(idx_folder, PixelFormat(8, None)).train.fingerprint,
        load(idx_folder, PixelFormat(None, 3)).train.fingerprint,
        load(idx_folder, classes=list("wxyz")).train.fingerprint,
    }
    for name in (TRAIN_IMAGES, TRAIN_LABELS):
        changed = idx_arrays[name].copy()
        changed.flat[0] ^= 1
        (idx_folder / f"{name}.gz").write_bytes(gzip.compress(pack_idx(changed), mtime=0))
        seen.add(load(idx_folder).train.fingerprint)
    assert len(seen) == 7


def test_matching_sums_pass(idx_folder: Path) -> None:
    write_sums(idx_folder)
    assert len(load(idx_folder).train) == 40


def test_a_file_with_another_sum_is_named_with_both_sums_and_a_way_out(idx_folder: Path) -> None:
    write_sums(idx_folder)
    path = idx_folder / f"{TRAIN_LABELS}.gz"
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_bytes(gzip.compress(b"other", mtime=0))
    actual = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(ImageSourceError) as caught:
        load(idx_folder)
    message = str(caught.value)
    for part in (str(path), f"expected SHA-256 {expected}", f"got {actual}", "git checkout"):
        assert part in message


def test_a_missing_file_is_named_with_the_names_that_would_do(idx_folder: Path) -> None:
    (idx_folder / f"{TRAIN_LABELS}.gz").unlink()
    with pytest.raises(ImageSourceError, match=r"train-labels-idx1-ubyte\.gz.*train-labels\.idx1"):
        load(idx_folder)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageSourceError, match=r"nowhere has none of .*data\.source\.folder"):
        load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "begins with nothing"),
        (b"<html>", "not an IDX file.*should begin with the bytes 00 00 08 03.*begins with 3c 68"),
        (bytes((0, 0, 0x0D, 3)) + bytes(12), "begins with 00 00 0d 03"),
        (bytes((0, 0, 8, 1)) + bytes(12), "begins with 00 00 08 01"),
        (bytes((0, 0, 8, 3)) + bytes(8), "not an IDX file"),
        (bytes((0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 2)) + bytes(7), "24 bytes.*holds 23"),
        (bytes((0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 2)) + bytes(9), "24 bytes.*holds 25"),
        (bytes((0, 0, 8, 3)) + b"\xff" * 12, "should hold 79228162458924105385300197391 bytes"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_named(
    content: bytes, message: str, idx_folder: Path
) -> None:
    (idx_folder / f"{TRAIN_IMAGES}.gz").write_bytes(gzip.compress(content))
    with pytest.raises(ImageSourceError, match=rf"{TRAIN_IMAGES}\.gz.*{message}"):
        load(idx_folder)


@pytest.mark.parametrize(
    "damage", [lambda c: c[:-20], lambda c: b"PK" + c, lambda c: c[:40] + b"\xff\xff" + c[42:]]
)
def test_a_damaged_gzip_file_is_named(damage: Callable[[bytes], bytes], idx_folder: Path) -> None:
    path = idx_folder / f"{TRAIN_IMAGES}.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ImageSourceError, match=rf"{path.name} cannot be read.*git checkout"):
        load(idx_folder)


def test_files_of_different_counts_are_named(
    idx_folder: Path, idx_arrays: Arrays, pack_idx: PackIdx
) -> None:
    fewer = pack_idx(idx_arrays[TRAIN_LABELS][:39])
    (idx_folder / f"{TRAIN_LABELS}.gz").write_bytes(gzip.compress(fewer))
    with pytest.raises(
        ImageSourceError, match=f"{TRAIN_IMAGES}.gz and {TRAIN_LABELS}.gz.*40 images and 39 labels"
    ):
        load(idx_folder)


def test_too_few_class_names_are_an_error(idx_folder: Path) -> None:
    with pytest.raises(ImageSourceError, match=r"\(2 classes\); got labels from 0 to 3"):
        load(idx_folder, classes=["a", "b"])


def test_the_embedded_fashion_mnist_is_whole() -> None:
    train, test = load(EMBEDDED)
    assert train.images.shape == (60_000, 1, 28, 28)
    assert test.images.shape == (10_000, 1, 28, 28)
    assert np.bincount(train.labels).tolist() == [6000] * 10
    assert np.bincount(test.labels).tolist() == [1000] * 10
    assert (train.classes[0], train.classes[9]) == ("T-shirt/top", "Ankle boot")
    assert len((EMBEDDED / "SHA256SUMS").read_text().splitlines()) == 4
