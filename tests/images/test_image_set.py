from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_compression.images import ImageSet, ImageSetError

IMAGES = np.arange(4 * 6, dtype=np.uint8).reshape(4, 1, 2, 3)
PARTS: dict[str, Any] = {
    "images": IMAGES,
    "labels": np.array([0, 1, 1, 0]),
    "classes": ("cat", "dog"),
    "fingerprint": "f",
}


def test_a_set_knows_its_size_and_shape() -> None:
    image_set = ImageSet(**PARTS)
    assert len(image_set) == 4
    assert image_set.image_shape == (1, 2, 3)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"images": IMAGES[:, 0]}, r"\(N, C, H, W\).*got \(4, 2, 3\)"),
        ({"images": IMAGES[:0], "labels": np.array([], dtype=np.int64)}, "may be 0"),
        ({"images": IMAGES.astype(np.float32)}, "uint8; got float32"),
        ({"labels": np.array([0, 1, 1, 0], dtype=np.int32)}, "int64.*got int32"),
        ({"labels": np.array([[0], [1], [1], [0]])}, r"got int64 of shape \(4, 1\)"),
        ({"labels": np.array([0, 1, 1])}, "4 images and 3 labels"),
        ({"labels": np.array([0, 1, 2, 0])}, r"0 to 1 \(2 classes\); got labels from 0 to 2"),
        ({"labels": np.array([0, -1, 1, 0])}, "got labels from -1 to 1"),
        ({"classes": ("cat", "cat")}, "must differ; got cat, cat"),
    ],
)
def test_parts_that_do_not_fit_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ImageSetError, match=message):
        ImageSet(**PARTS | wrong)


@given(st.data())
def test_a_subset_of_a_subset_is_the_subset_of_the_chosen(data: st.DataObject) -> None:
    image_set = ImageSet(**PARTS)
    outer = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=6))
    inner = data.draw(st.lists(st.integers(0, len(outer) - 1), min_size=1, max_size=6))
    subset = image_set.subset(outer).subset(inner)
    chosen = [outer[i] for i in inner]
    np.testing.assert_array_equal(subset.images[:], IMAGES[chosen])
    np.testing.assert_array_equal(subset.labels, image_set.labels[chosen])
    assert len(subset.images) == len(chosen)
    assert subset.classes == image_set.classes


def test_a_subset_reads_nothing_before_it_is_indexed_and_then_only_that() -> None:
    class Spy:
        shape = (1000, 1, 2, 2)
        dtype = np.dtype(np.uint8)
        read: list[int] = []  # noqa: RUF012

        def __len__(self) -> int:
            return 1000

        def __getitem__(self, key: Any) -> Any:
            self.read.extend(key.tolist())
            return np.zeros((len(key), 1, 2, 2), dtype=np.uint8)

    spy = Spy()
    image_set = ImageSet(spy, np.zeros(1000, dtype=np.int64), ("a",), "f")
    subset = image_set.subset(np.arange(500, 600)).subset([7, 3])
    assert spy.read == []
    assert subset.images[np.array([1])].shape == (1, 1, 2, 2)
    assert spy.read == [503]


def test_a_subset_has_the_fingerprint_of_what_it_took_from_what() -> None:
    image_set = ImageSet(**PARTS)
    other = ImageSet(**PARTS | {"fingerprint": "g"})
    fingerprints = {
        image_set.fingerprint,
        image_set.subset([0, 1]).fingerprint,
        image_set.subset([1, 0]).fingerprint,
        image_set.subset([0, 1, 2]).fingerprint,
        other.subset([0, 1]).fingerprint,
    }
    assert len(fingerprints) == 5
    narrow = np.array([0, 1], dtype=np.int32)
    assert image_set.subset(narrow).fingerprint == image_set.subset([0, 1]).fingerprint


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        ([], "at least one index"),
        ([0.5], "row of integers; got float64"),
        ([[0]], r"shape \(1, 1\)"),
        ([4], "0 to 3; got 4 to 4"),
        ([-1, 2], "got -1 to 2"),
    ],
)
def test_indices_that_point_nowhere_are_refused(indices: Any, message: str) -> None:
    with pytest.raises(ImageSetError, match=message):
        ImageSet(**PARTS).subset(indices)
