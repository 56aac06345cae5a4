"""Image sets on disk: written in chunks, read as a memory map.

Knows the three files of a set and nothing of where its images came from.
"""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_compression.files import atomic_write
from model_compression.images.image_set import ImageSet, ImageSetError

_IMAGES, _LABELS, _META = "images.npy", "labels.npy", "meta.json"
_FORMAT_VERSION = 1
_CHUNK_BYTES = 16 * 2**20

_log = logging.getLogger(__name__)


def write_image_set(image_set: ImageSet, folder: Path) -> None:
    """Writes ``images.npy``, ``labels.npy`` and, last, ``meta.json`` into ``folder``.

    Images are read and written some megabytes at a time, so a set may be larger than the memory.
    Where a complete set with the same fingerprint lies already, nothing is read or written. A
    crash leaves a folder without ``meta.json``, which no reader takes for a set.
    """
    if _holds(folder, image_set):
        _log.info("%s holds this image set already.", folder)
        return
    (folder / _META).unlink(missing_ok=True)
    with atomic_write(folder / _IMAGES) as path:
        _write_images(image_set, path)
    with atomic_write(folder / _LABELS) as path, path.open("wb") as file:
        np.save(file, image_set.labels, allow_pickle=False)
    meta = {
        "format_version": _FORMAT_VERSION,
        "fingerprint": image_set.fingerprint,
        "shape": list(image_set.images.shape),
        "classes": list(image_set.classes),
    }
    with atomic_write(folder / _META) as path:
        path.write_text(json.dumps(meta, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_image_set(folder: Path) -> ImageSet:
    """Opens the image set in ``folder``; the images stay on disk until they are indexed.

    Raises:
        ImageSetError: If a file is missing, truncated, or contradicts another; names the file.
    """
    meta = _read_meta(folder / _META)
    shape = tuple(meta["shape"])
    images = _read_array(folder / _IMAGES, shape, np.dtype(np.uint8), memory_map=True)
    labels = _read_array(folder / _LABELS, shape[:1], np.dtype(np.int64), memory_map=False)
    try:
        return ImageSet(images, labels, tuple(meta["classes"]), meta["fingerprint"])
    except ImageSetError as error:
        raise _damaged(folder, str(error)) from error


def _holds(folder: Path, image_set: ImageSet) -> bool:
    if not (folder / _META).exists():
        return False
    try:
        stored = read_image_set(folder)
    except ImageSetError:
        return False
    return (
        stored.fingerprint == image_set.fingerprint
        and stored.images.shape == image_set.images.shape
    )


def _write_images(image_set: ImageSet, path: Path) -> None:
    images = image_set.images
    header = {"descr": "|u1", "fortran_order": False, "shape": tuple(images.shape)}
    step = max(1, _CHUNK_BYTES // int(np.prod(image_set.image_shape)))
    # Not through a writable memory map: on a full disk that dies of a bus error, without a word.
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, len(image_set), step):
            file.write(np.ascontiguousarray(images[start : start + step]).data)


def _read_meta(path: Path) -> dict[str, Any]:
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
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
    )
    if not well_formed:
        raise _damaged(path, "expected shape (integers), classes (names) and fingerprint (text)")
    return meta


def _is_list_of(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(isinstance(item, kind) for item in value)


def _read_array(
    path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], *, memory_map: bool
) -> NDArray[Any]:
    try:
        array = np.load(path, mmap_mode="r" if memory_map else None, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _damaged(path, f"cannot be read ({error})") from error
    if array.shape != shape or array.dtype != dtype:
        raise _damaged(
            path, f"expected {dtype} of shape {shape}, got {array.dtype} of shape {array.shape}"
        )
    return np.asarray(array) if not memory_map else array


def _damaged(path: Path, reason: str) -> ImageSetError:
    return ImageSetError(
        f"{path}: {reason}. The stored image set is damaged: delete its folder and run data "
        "preparation again: kedro run --pipeline=data_preparation."
    )
