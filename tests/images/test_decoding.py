import numpy as np
import pytest
from PIL import Image

from model_compression.images import ImageSourceError
from model_compression.images.decoding import LazyImages, reformat
from model_compression.pictures import PixelFormat, fit_image, to_picture

AS_IT_IS = PixelFormat(None, None)
GREY = PixelFormat(None, 1)


def gradient(height: int, width: int) -> Image.Image:
    ramp = np.linspace(0, 255, width, dtype=np.uint8)
    return Image.fromarray(np.tile(ramp, (height, 1)))


def test_a_colour_picture_is_turned_into_channels_rows_and_columns() -> None:
    pixels = np.arange(2 * 4 * 3, dtype=np.uint8).reshape(2, 4, 3)
    decoded = fit_image(Image.fromarray(pixels), AS_IT_IS)
    assert decoded.shape == (3, 2, 4)
    np.testing.assert_array_equal(decoded, pixels.transpose(2, 0, 1))


def test_grey_and_colour_are_converted_into_each_other() -> None:
    red = Image.new("RGB", (2, 2), (255, 0, 0))
    assert fit_image(red, GREY).tolist() == [[[76, 76], [76, 76]]]
    grey = Image.new("L", (2, 2), 90)
    assert (fit_image(grey, PixelFormat(None, 3)) == np.full((3, 2, 2), 90)).all()


@pytest.mark.parametrize(("width", "height"), [(40, 20), (20, 40), (16, 16), (5, 7)])
def test_any_picture_becomes_a_square_of_the_size(width: int, height: int) -> None:
    assert fit_image(gradient(height, width), PixelFormat(16, 1)).shape == (1, 16, 16)


def test_the_middle_of_the_longer_side_is_kept() -> None:
    stripes = np.zeros((10, 30), dtype=np.uint8)
    stripes[:, 10:20] = 200
    assert (fit_image(Image.fromarray(stripes), PixelFormat(10, 1)) == 200).all()


def test_a_camera_held_sideways_is_put_upright(tmp_path: object) -> None:
    picture = gradient(4, 8)
    exif = picture.getexif()
    exif[0x0112] = 6
    path = f"{tmp_path}/sideways.png"
    picture.save(path, exif=exif)
    with Image.open(path) as stored:
        decoded = fit_image(stored, GREY)
    np.testing.assert_array_equal(decoded[0], np.rot90(np.asarray(picture), -1))


def test_transparent_parts_become_white_whatever_colour_hides_there() -> None:
    hidden = Image.new("RGBA", (2, 1), (255, 0, 0, 0))
    hidden.putpixel((1, 0), (0, 0, 255, 255))
    assert fit_image(hidden, AS_IT_IS)[:, 0].T.tolist() == [[255, 255, 255], [0, 0, 255]]


def test_sixteen_bit_greys_keep_their_upper_bits() -> None:
    deep = Image.fromarray(np.array([[0, 128 * 256, 65535]], dtype=np.uint16))
    assert fit_image(deep, GREY).tolist() == [[[0, 128, 255]]]


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_pixels_without_a_known_range_are_refused(dtype: type) -> None:
    with pytest.raises(ValueError, match="32-bit numbers; save the picture"):
        fit_image(Image.fromarray(np.ones((2, 2), dtype=dtype)), GREY)


def test_lazy_images_decode_just_what_is_indexed() -> None:
    decoded: list[int] = []

    def decode(position: int) -> np.ndarray:
        decoded.append(position)
        return np.full((1, 2, 2), position, dtype=np.uint8)

    images = LazyImages(decode, (9, 1, 2, 2))
    assert images[np.array([7, 2])][:, 0, 0, 0].tolist() == [7, 2]
    assert images[3:5].shape == (2, 1, 2, 2)
    assert images[9:].shape == (0, 1, 2, 2)
    assert decoded == [7, 2, 3, 4]
    assert len(images) == 9


def test_a_picture_of_another_size_is_named() -> None:
    images = LazyImages(lambda i: np.zeros((1, 2 + i, 2), dtype=np.uint8), (2, 1, 2, 2))
    with pytest.raises(ImageSourceError, match=r"Image 1 .*\(1, 3, 2\).*set image_size"):
        images[:]


def test_an_array_in_the_right_format_is_used_as_it_is() -> None:
    array = np.zeros((4, 1, 6, 6), dtype=np.uint8)
    assert reformat(array, AS_IT_IS) is array
    assert reformat(array, PixelFormat(6, 1)) is array


def test_an_array_in_another_format_is_converted_image_by_image() -> None:
    array = np.random.default_rng(0).integers(0, 256, (4, 3, 6, 5), dtype=np.uint8)
    pixel_format = PixelFormat(4, 1)
    images = reformat(array, pixel_format)
    assert images.shape == (4, 1, 4, 4)
    expected = [fit_image(to_picture(image), pixel_format) for image in array]
    np.testing.assert_array_equal(images[:], expected)


def test_grey_arrays_stay_grey_when_only_the_size_changes() -> None:
    images = reformat(np.full((2, 1, 8, 8), 50, dtype=np.uint8), PixelFormat(4, None))
    assert (images[:] == np.full((2, 1, 4, 4), 50)).all()
