import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from model_compression.images import ImageSet, contact_sheet, thumbnail

MakeImageSet = Callable[..., ImageSet]


def draw(image_set: ImageSet, **limits: int) -> Image.Image:
    with Image.open(io.BytesIO(contact_sheet(image_set, **limits))) as picture:
        return picture.convert("RGB")


def test_a_row_per_class_and_a_column_per_example(make_image_set: MakeImageSet) -> None:
    tile, gap = 64, 2
    sheet = draw(make_image_set(12), examples=3, classes=2)
    assert sheet.size == (3 * tile + 2 * gap, 2 * tile + gap)


@pytest.mark.parametrize("channels", [1, 3])
def test_each_row_shows_its_own_class(channels: int) -> None:
    labels = np.array([1, 0, 0, 1])
    images = np.broadcast_to(labels.reshape(4, 1, 1, 1) * 100 + 50, (4, channels, 8, 8))
    sheet = draw(ImageSet(images.astype(np.uint8), labels, ("a", "b"), "f"), examples=3)
    assert [sheet.getpixel((10, 10)), sheet.getpixel((10, 80))] == [(50,) * 3, (150,) * 3]
    assert sheet.getpixel((150, 10)) == (255, 255, 255)


def test_classes_without_an_image_take_no_row(make_image_set: MakeImageSet) -> None:
    only_two = make_image_set(12).subset([0, 2, 3])
    assert draw(only_two).size[1] == 2 * 64 + 2


@pytest.mark.parametrize(("shape", "size"), [((1, 5, 7), (7, 5)), ((3, 192, 96), (48, 96))])
def test_a_single_image_is_drawn_at_most_as_large_as_it_is(shape, size) -> None:
    image = np.full(shape, 77, dtype=np.uint8)
    with Image.open(io.BytesIO(thumbnail(image))) as picture:
        assert picture.size == size
        assert picture.convert("RGB").getpixel((1, 1)) == (77, 77, 77)
