"""Images that are decoded when they are asked for, one after the other.

Knows how to ask; what is done to a picture is known by `pictures`, one floor below.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_compression.images.image_set import ImageArray
from model_compression.images.raw_images import ImageSourceError
from model_compression.pictures import PixelFormat, fit_image, to_picture


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
