"""From a picture, in a file or open, to an array of bytes of the wanted size and channels.

Knows pixels and files; what pictures show and where they belong is its callers' business. It lies
below every room and knows no torch, because the processes that decode a folder load it and no more.
"""

import errno
import os
import threading
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

_RGB = 3
_SECONDS_BETWEEN_LOOKS = 0.5
_NOT_THE_FILES_FAULT = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR))


class PixelFormat(NamedTuple):
    """The size and channels that images are brought to; None leaves them as they are."""

    image_size: int | None
    """Height and width in pixels."""
    channels: int | None
    """1 (grey) or 3 (RGB)."""


class UnreadablePictureError(ValueError):
    """A file is no picture that can be had; says why in a few words, without its name."""


class Decoded(NamedTuple):
    """Some files' pictures."""

    pixels: NDArray[np.uint8]
    """Of those that can be read, in their order, shape (n, C, H, W)."""
    unreadable: list[tuple[int, str]]
    """The others: their places in the row of files, ascending, and why."""


def decode_files(folder: str, names: Sequence[str], pixel_format: PixelFormat) -> Decoded:
    """Reads pictures, and goes on where one can't be read.

    Args:
        folder: Where the names begin.
        names: Paths in the folder.
        pixel_format: Size and channels; needs a size, and no channels means RGB.
    """
    size = pixel_format.image_size
    assert size is not None
    channels = 1 if pixel_format.channels == 1 else _RGB
    pixels = np.empty((len(names), channels, size, size), dtype=np.uint8)
    unreadable: list[tuple[int, str]] = []
    read = 0
    for place, name in enumerate(names):
        try:
            pixels[read] = read_picture(Path(folder, name), pixel_format)
        except UnreadablePictureError as error:
            unreadable.append((place, str(error)))
        else:
            read += 1
    return Decoded(pixels[:read], unreadable)


def prepare_worker(parent: int) -> None:
    """Readies a process that decodes for another one: it says nothing, and ends with it.

    Args:
        parent: The other process. When that is killed, its pool's pipes don't close, since the
            workers hold each other's ends of them, and so would wait forever.
    """
    warnings.simplefilter("ignore")  # of what PIL finds odd about files that it reads nevertheless
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    os._exit(1)


def read_picture(path: Path, pixel_format: PixelFormat) -> NDArray[np.uint8]:
    """The picture in a file, as ``fit_image`` brings it into the format.

    Raises:
        UnreadablePictureError: If the file can't be read or holds no whole picture.
        OSError, MemoryError: If that is not the file's fault.
    """
    try:
        with Image.open(path) as picture:
            return fit_image(picture, pixel_format)
    except MemoryError:
        raise
    except UnidentifiedImageError as error:
        empty = path.stat().st_size == 0
        reason = "the file is empty" if empty else "not a picture of a known format"
        raise UnreadablePictureError(reason) from error
    # On damaged files PIL's decoders raise nearly anything: OSError, SyntaxError, struct.error, …
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _NOT_THE_FILES_FAULT:
            raise
        told = error.strerror if isinstance(error, OSError) else None
        raise UnreadablePictureError(told or str(error) or type(error).__name__) from error


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
