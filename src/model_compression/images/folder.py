"""Images from a folder with one sub-folder per class.

Knows files and folders; how they are decoded is the business of `file_images`.
"""

import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from model_compression.fingerprint import fingerprint
from model_compression.images.file_images import FileImages, Unreadable
from model_compression.images.image_set import ImageSet
from model_compression.images.raw_images import ImageSourceError, TrainTest, resolve
from model_compression.images.splits import stratified_split
from model_compression.parameters import Parameters
from model_compression.pictures import PixelFormat

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
    unreadable: Unreadable = "refuse"
    """What is done about files that can't be read, once all were looked at. refuse: an error lists
    them. skip: they are left out of the set that they were dealt to, and listed."""
    workers: int | None = Field(default=None, ge=1)
    """Processes that decode; null: one a core that this process may use; 1: this process."""


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
    whole = _read_folder(source, folder, classes, pixel_format)
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
    return TrainTest(whole, _read_folder(source, test_folder, classes, pixel_format))


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


def _read_folder(
    source: FolderSource, folder: Path, classes: tuple[str, ...], pixel_format: PixelFormat
) -> ImageSet:
    if pixel_format.image_size is None:
        raise ImageSourceError(f"The images in {folder} need a common size; set image_size.")
    by_class = [_pictures(folder, name) for name in classes]
    names = [name for pictures in by_class for name in pictures]
    labels = np.repeat(np.arange(len(classes)), [len(pictures) for pictures in by_class])
    return ImageSet(
        images=FileImages(
            folder=folder,
            names=names,
            positions=np.arange(len(names)),
            pixel_format=pixel_format,
            unreadable=source.unreadable,
            workers=source.workers,
        ),
        labels=labels.astype(np.int64),
        classes=classes,
        fingerprint=fingerprint(_signatures(folder, names), classes, pixel_format),
    )


def _pictures(root: Path, class_name: str) -> list[str]:
    """The pictures below a class's folder, by their paths in ``root``."""
    folder = root / class_name
    found = []
    for place, _, names in os.walk(folder, onerror=_refuse_folder):
        within = Path(place).relative_to(root).as_posix()
        found += [f"{within}/{name}" for name in names if _is_picture(place, name)]
    if not found:
        raise ImageSourceError(
            f"The class folder {folder} has no images ({', '.join(sorted(_SUFFIXES))}); "
            "put some there or remove the folder."
        )
    return sorted(found)


def _is_picture(folder: str, name: str) -> bool:
    if name[0] == "." or os.path.splitext(name)[1].lower() not in _SUFFIXES:
        return False
    status = _status(os.path.join(folder, name))
    return status is None or stat.S_ISREG(status.st_mode)


def _refuse_folder(error: OSError) -> None:
    raise ImageSourceError(
        f"The folder {error.filename} cannot be read: {error.strerror}. Its images would be "
        "missing unnoticed: make it readable or remove it."
    ) from error


def _signatures(folder: Path, names: list[str]) -> str:
    """A digest of all files' names, sizes and times, one after the other: they may be millions."""
    digest = hashlib.sha256()
    for name in names:
        status = _status(f"{folder}/{name}")
        known = (-1, -1) if status is None else (status.st_size, status.st_mtime_ns)
        digest.update(json.dumps((name, *known)).encode() + b"\n")
    return digest.hexdigest()


def _status(path: str) -> os.stat_result | None:
    """What the system knows of a file; None if it is a link to nowhere: one more unreadable one."""
    try:
        return os.stat(path)
    except OSError:
        return None


def _difference(names: tuple[str, ...], others: tuple[str, ...]) -> str:
    return ", ".join(sorted(set(names) - set(others))) or "none"
