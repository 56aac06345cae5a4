"""Small pictures of what is in an image set.

Knows how to draw them, not where they are shown.
"""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model_compression.images.image_set import ImageSet
from model_compression.pictures import to_picture

_TILE = 64
_GAP = 2
_THUMBNAIL = 96
"""The longer side of a single small picture, at most: its own size where that is smaller."""


def contact_sheet(image_set: ImageSet, *, examples: int = 10, classes: int = 10) -> bytes:
    """Draws the first images of the first classes, one row per class.

    Args:
        image_set: Images of one or three channels.
        examples: Images in a row.
        classes: Rows at most; classes that the set has no image of are left out.

    Returns:
        A PNG file's content.
    """
    present = np.unique(image_set.labels)[:classes]
    pitch = _TILE + _GAP
    sheet = Image.new("RGB", (examples * pitch - _GAP, len(present) * pitch - _GAP), "white")
    for row, label in enumerate(present):
        positions = np.flatnonzero(image_set.labels == label)[:examples]
        for column, image in enumerate(image_set.images[positions]):
            tile = to_picture(image).resize((_TILE, _TILE), Image.Resampling.BOX)
            sheet.paste(tile, (column * pitch, row * pitch))
    return _png(sheet)


def thumbnail(image: NDArray[np.uint8]) -> bytes:
    """One image as a PNG file's content, no larger than it is and than a page needs.

    Args:
        image: uint8, shape (C, H, W), C being 1 or 3.
    """
    picture = to_picture(image)
    picture.thumbnail((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BOX)
    return _png(picture)


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()
