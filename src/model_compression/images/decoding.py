"""From a picture to an array of bytes of the wanted size and channels.

Knows pixels; where pictures lie and what they show is its callers' business.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from model_compression.images.image_set import ImageArray
from model_compression.images.raw_images import ImageSourceError, PixelFormat

_RGB = 3


class LazyImages:
    """Images that are decoded when they are indexed, and not kept.

    Args:
        decode: Gives the image at a position as uint8 of shape (C, H, W).
        shape: (N, C, H, W).
    """

    def __init__(
        self, decode: Callable[[int], NDArray[np.uint8]], shape: tuple[int, int, int, int]
    ) -> None:
        self._decode = decode
        self.shape = shape
        self.dtype = np.dtype(np.uint8)

    def __len__(self) -> int:
        """The number of images."""
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray[np.uint8]:
        """Decodes the images of a slice or an integer array.

        Raises:
            ImageSourceError: If an image has another shape than the rest.
        """
        positions = np.arange(len(self))[key]
        decoded = np.empty((len(positions), *self.shape[1:]), dtype=np.uint8)
        for row, position in enumerate(positions):
            image = self._decode(int(position))
            if image.shape != self.shape[1:]:
                raise ImageSourceError(
                    f"Image {position} has the shape (C, H, W) = {image.shape} and others have "
                    f"{self.shape[1:]}; set image_size to bring all to one size."
                )
            decoded[row] = image
        return decoded


def fit_image(image: Image.Image, pixel_format: PixelFormat) -> NDArray[np.uint8]:
    """Brings a picture upright, to 8 bits, to the wanted channels and a square of the wanted size.

    The shorter side is scaled to the size and the middle of the longer one kept. Transparent
    parts become white, 16-bit greys keep their upper eight bits.

    Args:
        image: Any picture that PIL opens.
        pixel_format: Size and channels; no size leaves the picture's, no channels makes it RGB.

    Returns:
        uint8, shape (C, H, W).

    Raises:
        ValueError: If the pixels are 32-bit numbers, whose range no file format tells.
    """
    upright = ImageOps.exif_transpose(image)
    opaque = _without_transparency(_to_eight_bits(upright))
    converted = opaque.convert("L" if pixel_format.channels == 1 else "RGB")
    if pixel_format.image_size is not None:
        size = (pixel_format.image_size, pixel_format.image_size)
        converted = ImageOps.fit(converted, size, method=Image.Resampling.BICUBIC)
    pixels = np.asarray(converted, dtype=np.uint8)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def reformat(images: NDArray[np.uint8], pixel_format: PixelFormat) -> ImageArray:
    """An array of images in the wanted format: itself where it fits, else converted when indexed.

    Args:
        images: uint8, shape (N, C, H, W), C being 1 or 3.
        pixel_format: Size and channels; None leaves the array's.
    """
    count, channels, height, width = images.shape
    size = pixel_format.image_size
    wanted_channels = pixel_format.channels or channels
    wanted_shape = (count, wanted_channels, size or height, size or width)
    if images.shape == wanted_shape:
        return images

    def decode(position: int) -> NDArray[np.uint8]:
        return fit_image(to_picture(images[position]), PixelFormat(size, wanted_channels))

    return LazyImages(decode, wanted_shape)


def to_picture(image: NDArray[np.uint8]) -> Image.Image:
    """The PIL picture of one image of shape (C, H, W), C being 1 or 3."""
    return Image.fromarray(image.transpose(1, 2, 0) if len(image) == _RGB else image[0])


def _to_eight_bits(image: Image.Image) -> Image.Image:
    # PIL's own conversion clips: it would turn nearly every 16-bit grey into white.
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError("pixels are 32-bit numbers; save the picture with 8 or 16 bits a channel")
    return image


def _without_transparency(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image
    background = Image.new("RGBA", image.size, "white")
    background.alpha_composite(image.convert("RGBA"))
    return background
