"""Images from a folder with one sub-folder per class.

Knows files and folders; what is done to a picture is decoding's business.
"""

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from model_compression.fingerprint import fingerprint
from model_compression.images.decoding import LazyImages, fit_image
from model_compression.images.image_set import ImageSet
from model_compression.images.raw_images import ImageSourceError, PixelFormat, TrainTest, resolve
from model_compression.images.splits import stratified_split
from model_compression.parameters import Parameters

_SUFFIXES = frozenset(
    (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
)


class FolderSource(Parameters):
    """Pictures in ``path/<class>/…``; the sub-folders' names are the class names."""

    kind: Literal["folder"] = "folder"
    path: str
    """The folder of the classes."""
    test_path: str | None = None
    """A second such folder with the same classes; null: part of ``path`` is held out instead."""
    test_fraction: float = Field(default=0.15, gt=0, lt=1)
    """How much of each class is held out for the test where there is no ``test_path``."""


def load_folder(
    source: FolderSource, raw_folder: Path, pixel_format: PixelFormat, seed: int
) -> TrainTest:
    """Lists the pictures; each is decoded when it is indexed.

    Args:
        source: Which folders.
        raw_folder: Where relative paths begin.
        pixel_format: Size and channels; needs a size, and no channels means RGB.
        seed: Decides which pictures are held out for the test, if any.

    Raises:
        ImageSourceError: If a folder is missing, has no classes or a class without pictures, or the
            test folder has other classes; later, when indexed, if a picture cannot be read.
    """
    folder = resolve(source.path, raw_folder)
    classes = _class_names(folder)
    whole = _read_folder(folder, classes, pixel_format)
    if source.test_path is None:
        rest, held_out = stratified_split(whole.labels, source.test_fraction, seed)
        return TrainTest(whole.subset(rest), whole.subset(held_out))
    test_folder = resolve(source.test_path, raw_folder)
    test_classes = _class_names(test_folder)
    if test_classes != classes:
        raise ImageSourceError(
            f"{folder} and {test_folder} must have the same sub-folders, one per class. "
            f"Only in the first: {_difference(classes, test_classes)}; "
            f"only in the second: {_difference(test_classes, classes)}."
        )
    return TrainTest(whole, _read_folder(test_folder, classes, pixel_format))


def _class_names(folder: Path) -> tuple[str, ...]:
    if not folder.is_dir():
        raise ImageSourceError(
            f"{folder} is not a folder; set data.source to where the images are."
        )
    names = sorted(
        entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != "."
    )
    if not names:
        raise ImageSourceError(
            f"{folder} has no sub-folders; it needs one per class, named after it, with its images."
        )
    return tuple(names)


def _read_folder(folder: Path, classes: tuple[str, ...], pixel_format: PixelFormat) -> ImageSet:
    if pixel_format.image_size is None:
        raise ImageSourceError(f"The images in {folder} need a common size; set image_size.")
    by_class = [_pictures(folder / name) for name in classes]
    paths = [path for pictures in by_class for path in pictures]

    def decode(position: int) -> NDArray[np.uint8]:
        return _read_picture(paths[position], pixel_format)

    size = pixel_format.image_size
    shape = (len(paths), 1 if pixel_format.channels == 1 else 3, size, size)
    labels = np.repeat(np.arange(len(classes)), [len(pictures) for pictures in by_class])
    return ImageSet(
        images=LazyImages(decode, shape),
        labels=labels.astype(np.int64),
        classes=classes,
        fingerprint=fingerprint(
            [_signature(path, folder) for path in paths], classes, pixel_format
        ),
    )


def _pictures(folder: Path) -> list[Path]:
    paths = [
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in _SUFFIXES and path.name[0] != "." and path.is_file()
    ]
    if not paths:
        raise ImageSourceError(
            f"The class folder {folder} has no images ({', '.join(sorted(_SUFFIXES))}); "
            "put some there or remove the folder."
        )
    return sorted(paths, key=lambda path: path.relative_to(folder).as_posix())


def _read_picture(path: Path, pixel_format: PixelFormat) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as picture:
            return fit_image(picture, pixel_format)
    # On damaged files PIL's decoders raise nearly anything: OSError, SyntaxError, struct.error, …
    except Exception as error:
        raise ImageSourceError(
            f"The image {path} cannot be read: {error}. Replace or remove it."
        ) from error


def _signature(path: Path, folder: Path) -> tuple[str, int, int]:
    status = path.stat()
    return path.relative_to(folder).as_posix(), status.st_size, status.st_mtime_ns


def _difference(names: tuple[str, ...], others: tuple[str, ...]) -> str:
    return ", ".join(sorted(set(names) - set(others))) or "none"
