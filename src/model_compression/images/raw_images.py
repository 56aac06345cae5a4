"""What every source of images is asked for, and what it gives.

Knows no source.
"""

from pathlib import Path
from typing import NamedTuple

from model_compression.images.image_set import ImageSet


class ImageSourceError(ValueError):
    """Images cannot be had from where the parameters say; the message tells what to do."""


class TrainTest(NamedTuple):
    """A source's two parts, whole."""

    train: ImageSet
    test: ImageSet


def resolve(path: str, raw_folder: Path) -> Path:
    """A path from the parameters: ``~`` is the home, a relative one starts at the project."""
    return raw_folder / Path(path).expanduser()
