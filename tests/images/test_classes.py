import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_compression.images import ImageSet, ImageSetError
from model_compression.images.classes import find_classes, with_classes

NAMES = ("cat", "dog", "eel", "fox")


@pytest.fixture
def animals() -> ImageSet:
    """Twelve images; the first byte of each says of which class it is."""
    labels = np.arange(12, dtype=np.int64) % 4
    images = np.zeros((12, 1, 2, 2), dtype=np.uint8)
    images[:, 0, 0, 0] = labels
    images[:, 0, 0, 1] = np.arange(12)
    return ImageSet(images, labels, NAMES, "animals")


@pytest.mark.parametrize(
    ("chosen", "numbers"),
    [(1, (3,)), (2, (2, 3)), (4, (0, 1, 2, 3)), (("fox", "cat"), (3, 0)), ((1, "eel"), (1, 2))],
)
def test_classes_are_found_by_count_name_and_number(chosen, numbers):
    assert find_classes(NAMES, chosen) == numbers


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (5, "5 classes can't be taken of 4"),
        (("dig",), r"no class 'dig' \(did you mean 'dog'\?\); there are cat, dog, eel, fox"),
        ((4,), "no class number 4; there are 0 to 3"),
        ((-1,), "no class number -1"),
        (("cat", 0), "chosen once; got cat, cat"),
    ],
)
def test_classes_that_are_not_there_are_refused(chosen, message):
    with pytest.raises(ValueError, match=message):
        find_classes(NAMES, chosen)


@given(order=st.permutations(range(4)), count=st.integers(1, 4))
def test_every_image_keeps_its_class_under_the_new_number(order, count):
    labels = np.arange(12, dtype=np.int64) % 4
    images = labels.astype(np.uint8).reshape(12, 1, 1, 1)
    part = with_classes(ImageSet(images, labels, NAMES, "animals"), order[:count])
    assert part.classes == tuple(NAMES[number] for number in order[:count])
    assert len(part) == 3 * count
    for pixel, label in zip(part.images[:].reshape(-1), part.labels, strict=True):
        assert part.classes[label] == NAMES[pixel]


def test_some_classes_images_can_be_had_under_the_numbers_of_all(animals):
    part = with_classes(animals, (0, 2, 3, 1), chosen=(3, 1))
    assert part.classes == ("cat", "eel", "fox", "dog")
    assert set(part.labels) == {2, 3}
    assert list(part.images[:][:, 0, 0, 1]) == [1, 3, 5, 7, 9, 11]


def test_another_choice_or_order_is_another_fingerprint(animals):
    sets = [
        with_classes(animals, (0, 1, 2, 3)),
        with_classes(animals, (0, 1, 3, 2)),
        with_classes(animals, (0, 1)),
        with_classes(animals, (0, 1, 2, 3), chosen=(0, 1)),
    ]
    assert len({part.fingerprint for part in sets} | {animals.fingerprint}) == 5
    assert with_classes(animals, (0, 1)).fingerprint == sets[2].fingerprint


def test_classes_without_an_image_are_refused(animals):
    with pytest.raises(ImageSetError, match="no image of the classes dog"):
        with_classes(animals.subset([0, 4, 2]), (0, 1), chosen=(1,))
