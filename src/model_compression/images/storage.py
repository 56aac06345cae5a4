"""Image sets on disk: written in chunks, read as they are indexed, in bounded memory either way.

Knows the three files of a set and nothing of where its images came from.
"""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from model_compression.files import atomic_write
from model_compression.fingerprint import fingerprint
from model_compression.images.file_images import FileImages, chunks
from model_compression.images.image_set import ImageSet, ImageSetError
from model_compression.images.partial_set import PartialSet
from model_compression.images.progress import image_progress
from model_compression.images.raw_images import ImageSourceError
from model_compression.stored_rows import StoredRows, open_rows

_IMAGES, _LABELS, _META, _LOCK = "images.npy", "labels.npy", "meta.json", ".lock"
_UNREADABLE = "unreadable.txt"
_FORMAT_VERSION = 1
_CHUNK_BYTES = 4 * 2**20
_FILES_AT_A_TIME = 256
_NAMED = 20
"""Unreadable files that a message names."""

_log = logging.getLogger(__name__)


def write_image_set(image_set: ImageSet, folder: Path) -> None:
    """Writes ``images.npy``, ``labels.npy`` and, last, ``meta.json`` into ``folder``.

    Images are decoded, read and written some megabytes at a time, so a set may be larger than the
    memory. Where a complete set of the same images lies already, nothing is read or written. A
    crash leaves a folder without ``meta.json``, which no reader takes for a set, and in it what was
    written so far (``.unfinished``), with which the same images go on the next time.

    Of image files, those that can't be read either refuse the set, after all were looked at, and
    ``unreadable.txt`` names them, or stay out of it: then ``meta.json`` names them, and the set's
    fingerprint is of those that are in it.

    Raises:
        ImageSourceError: If images can't be read and none may be missing, or a class has none left.
    """
    if _holds(folder, image_set):
        _log.info("%s holds this image set already.", folder)
        return
    folder.mkdir(parents=True, exist_ok=True)
    with _alone_in(folder):
        if not _holds(folder, image_set):
            _write(image_set, folder)


def _write(image_set: ImageSet, folder: Path) -> None:
    images = image_set.images
    (folder / _META).unlink(missing_ok=True)
    (folder / _UNREADABLE).unlink(missing_ok=True)
    step = max(1, _CHUNK_BYTES // int(np.prod(image_set.image_shape)))
    if isinstance(images, FileImages):
        step = min(step, _FILES_AT_A_TIME)
    with PartialSet(
        folder, image_set.fingerprint, images.shape, step, lambda p: not _can_be_read(images, p)
    ) as partial:
        if partial.done:
            _log.info(
                "%s: goes on after the %s of %s images that are there.",
                folder.name,
                f"{partial.done:,}",
                f"{len(images):,}",
            )
        task = f"images of {folder.name}"
        with image_progress(task, len(images), partial.done) as progress:
            for chunk in chunks(images, partial.done, step):
                partial.append(chunk)
                progress.reach(partial.done)
        missing = [position for position, _ in partial.unreadable]
        meta: dict[str, Any] = {
            "format_version": _FORMAT_VERSION,
            "fingerprint": image_set.fingerprint,
            "shape": [len(images) - len(missing), *images.shape[1:]],
            "classes": list(image_set.classes),
        }
        if isinstance(images, FileImages) and missing:
            _judge(image_set, images, partial.unreadable, folder, step)
            meta |= {
                "fingerprint": fingerprint(image_set.fingerprint, "without", missing),
                "source_fingerprint": image_set.fingerprint,
                "unreadable": [
                    {"position": position, "file": str(images.path(position)), "reason": reason}
                    for position, reason in partial.unreadable
                ],
            }
        labels = np.delete(image_set.labels, missing)
        partial.put_in_place(folder / _IMAGES)
        with atomic_write(folder / _LABELS) as path, path.open("wb") as file:
            np.save(file, labels, allow_pickle=False)
        with atomic_write(folder / _META) as path:
            content = json.dumps(meta, indent=2, ensure_ascii=False) + "\n"
            # A file's name may be no text at all; Python stands in for such bytes with surrogates.
            path.write_text(content, encoding="utf-8", errors="surrogateescape")
    partial.remove()


def _judge(
    image_set: ImageSet,
    images: FileImages,
    unreadable: list[tuple[int, str]],
    folder: Path,
    step: int,
) -> None:
    """Says which files can't be read, as an error where none may be missing."""
    found = [(images.path(position), reason) for position, reason in unreadable]
    if images.unreadable == "refuse":
        looked_at = len(images)
        for other in images.later:
            looked_at += len(other)
            with image_progress("looks at the other images", len(other)) as progress:
                for chunk in chunks(other, 0, step):
                    found += [(other.path(place), reason) for place, reason in chunk.unreadable]
                    progress.reach(chunk.stop)
        with atomic_write(folder / _UNREADABLE) as path:
            lines = "".join(f"{file}: {reason}\n" for file, reason in found)
            path.write_text(lines, encoding="utf-8", errors="surrogateescape")
        raise ImageSourceError(
            f"{len(found):,} of {looked_at:,} images can't be read; {folder / _UNREADABLE} names "
            f"them all:\n{_listing(found)}\n"
            "Replace or remove them, or leave them out: set data.source.unreadable to skip."
        )
    left = np.delete(image_set.labels, [position for position, _ in unreadable])
    empty = np.setdiff1d(image_set.labels, left)
    if len(empty):
        classes = ", ".join(image_set.classes[label] for label in empty)
        theirs = np.isin(image_set.labels[[position for position, _ in unreadable]], empty)
        named = [file for file, is_theirs in zip(found, theirs, strict=True) if is_theirs]
        raise ImageSourceError(
            f"No image that can be read is left in the {folder.name} images of {classes}:\n"
            f"{_listing(named)}\n"
            "Replace them, add images to the class, or remove its folder."
        )
    _log.warning(
        "%s: %s of %s images can't be read and are left out; %s names them all:\n%s",
        folder.name,
        f"{len(found):,}",
        f"{len(images):,}",
        _META,
        _listing(found),
    )


def _listing(found: list[tuple[Path, str]]) -> str:
    lines = [f"  {path}: {reason}" for path, reason in found[:_NAMED]]
    if len(found) > _NAMED:
        lines.append(f"  and {len(found) - _NAMED:,} more")
    return "\n".join(lines)


def _can_be_read(images: Any, position: int) -> bool:
    return isinstance(images, FileImages) and images.can_be_read(position)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _log.info("Another process writes images into %s: waiting for it.", folder)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def read_image_set(folder: Path) -> ImageSet:
    """Opens the image set in ``folder``; the images stay on disk until they are indexed.

    Up to ``stored_rows.MAPPED_BYTES`` they are a memory map; larger ones are read row by row, so
    that the process's memory does not grow with them.

    Raises:
        ImageSetError: If a file is missing, truncated, or contradicts another; names the file.
    """
    meta = _read_meta(folder / _META)
    shape = tuple(meta["shape"])
    images = _read_array(folder / _IMAGES, shape, np.dtype(np.uint8))
    labels = np.array(_read_array(folder / _LABELS, shape[:1], np.dtype(np.int64))[:])
    try:
        return ImageSet(images, labels, tuple(meta["classes"]), meta["fingerprint"])
    except ImageSetError as error:
        raise _damaged(folder, str(error)) from error


def _holds(folder: Path, image_set: ImageSet) -> bool:
    if not (folder / _META).exists():
        return False
    try:
        stored = read_image_set(folder)
        meta = _read_meta(folder / _META)
    except ImageSetError:
        return False
    missing = [one["position"] for one in meta.get("unreadable", [])]
    images = image_set.images
    return (
        meta.get("source_fingerprint", stored.fingerprint) == image_set.fingerprint
        and len(stored) + len(missing) == len(image_set)
        and stored.image_shape == image_set.image_shape
        and all(
            isinstance(images, FileImages)
            and images.unreadable == "skip"
            and not images.can_be_read(position)
            for position in missing
        )
    )


def _read_meta(path: Path) -> dict[str, Any]:
    try:
        meta = json.loads(path.read_text(encoding="utf-8", errors="surrogateescape"))
    except FileNotFoundError as error:
        raise ImageSetError(
            f"{path.parent} holds no complete image set: {path.name} is missing. "
            "Run data preparation: kedro run --pipeline=data_preparation."
        ) from error
    except ValueError as error:
        raise _damaged(path, f"not JSON ({error})") from error
    if not isinstance(meta, dict) or meta.get("format_version") != _FORMAT_VERSION:
        raise _damaged(path, f"expected an object with format_version {_FORMAT_VERSION}")
    well_formed = (
        _is_list_of(meta.get("shape"), int)
        and _is_list_of(meta.get("classes"), str)
        and isinstance(meta.get("fingerprint"), str)
        and _is_list_of(meta.get("unreadable", []), dict)
        and all(isinstance(one.get("position"), int) for one in meta.get("unreadable", []))
    )
    if not well_formed:
        raise _damaged(path, "expected shape (integers), classes (names) and fingerprint (text)")
    return meta


def _is_list_of(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(isinstance(item, kind) for item in value)


def _read_array(
    path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> NDArray[Any] | StoredRows:
    try:
        array = open_rows(path)
    except (OSError, ValueError, EOFError) as error:
        raise _damaged(path, f"cannot be read ({error})") from error
    if array.shape != shape or array.dtype != dtype:
        raise _damaged(
            path, f"expected {dtype} of shape {shape}, got {array.dtype} of shape {array.shape}"
        )
    return array


def _damaged(path: Path, reason: str) -> ImageSetError:
    return ImageSetError(
        f"{path}: {reason}. The stored image set is damaged: delete its folder and run data "
        "preparation again: kedro run --pipeline=data_preparation."
    )
