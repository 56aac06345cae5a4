"""Images from the four IDX files that MNIST, Fashion-MNIST and their kin come in.

Knows the format (Yann LeCun's "THE IDX FILE FORMAT") and nothing of what is in the pictures.
"""

import gzip
import hashlib
import math
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from model_compression.fingerprint import fingerprint
from model_compression.images.decoding import reformat
from model_compression.images.image_set import ImageSet, ImageSetError
from model_compression.images.raw_images import ImageSourceError, TrainTest, resolve
from model_compression.parameters import Parameters
from model_compression.pictures import PixelFormat

_UNSIGNED_BYTE = 0x08
_SUMS = "SHA256SUMS"
_CLASSES = "classes.txt"


class IdxSource(Parameters):
    """A folder with the files ``{train,t10k}-{images-idx3,labels-idx1}-ubyte``, gzipped or not."""

    kind: Literal["idx"] = "idx"
    folder: str = "fashion-mnist"
    """Where the four files are. Sums in a SHA256SUMS beside them are checked."""
    classes: list[str] | None = None
    """Class names in label order; null: the lines of a classes.txt there, else label numbers."""


def load_idx(source: IdxSource, raw_folder: Path, pixel_format: PixelFormat) -> TrainTest:
    """Reads the folder's training and test images.

    Raises:
        ImageSourceError: If a file is missing, has another sum than SHA256SUMS says, is not IDX, is
            truncated, or doesn't fit the others; names the file.
    """
    folder = resolve(source.folder, raw_folder)
    sums = _read_sums(folder / _SUMS)
    paths = {
        (part, kind): _find(folder, part, kind)
        for part in ("train", "t10k")
        for kind in ("images-idx3", "labels-idx1")
    }
    digests = {key: _verified_digest(path, sums) for key, path in paths.items()}
    labels = {
        part: read_idx(paths[part, "labels-idx1"], dimensions=1) for part in ("train", "t10k")
    }
    highest = max((int(part.max()) for part in labels.values() if part.size), default=0)
    classes = _class_names(source, folder, highest)

    def read(part: str) -> ImageSet:
        images = read_idx(paths[part, "images-idx3"], dimensions=3)[:, None]
        try:
            return ImageSet(
                images=reformat(images, pixel_format),
                labels=labels[part].astype(np.int64),
                classes=classes,
                fingerprint=fingerprint(
                    digests[part, "images-idx3"],
                    digests[part, "labels-idx1"],
                    classes,
                    pixel_format,
                ),
            )
        except ImageSetError as error:
            names = " and ".join(paths[part, kind].name for kind in ("images-idx3", "labels-idx1"))
            raise ImageSourceError(f"{names} in {folder} don't fit together: {error}") from error

    return TrainTest(read("train"), read("t10k"))


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Reads one IDX file of unsigned bytes.

    Args:
        path: The file; gzipped if its name ends in ``.gz``.
        dimensions: How many the array must have: 3 for images, 1 for labels.

    Raises:
        ImageSourceError: If it is not such a file, or shorter or longer than its header says.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise ImageSourceError(f"{path} cannot be read: {error}. {_restore(path)}") from error
    magic = bytes((0, 0, _UNSIGNED_BYTE, dimensions))
    header_bytes = 4 + 4 * dimensions
    if content[:4] != magic or len(content) < header_bytes:
        raise ImageSourceError(
            f"{path} is not an IDX file of unsigned bytes in {dimensions} dimensions: it should "
            f"begin with the bytes {magic.hex(' ')} and {dimensions} sizes, "
            f"and begins with {content[:header_bytes].hex(' ') or 'nothing'}. {_restore(path)}"
        )
    shape = tuple(np.frombuffer(content, ">u4", count=dimensions, offset=4).tolist())
    expected = header_bytes + math.prod(shape)
    if len(content) != expected:
        raise ImageSourceError(
            f"{path} should hold {expected} bytes by its header (shape {shape}) and holds "
            f"{len(content)}. {_restore(path)}"
        )
    return np.frombuffer(content, np.uint8, offset=header_bytes).reshape(shape)


def _find(folder: Path, part: str, kind: str) -> Path:
    stems = (f"{part}-{kind}-ubyte", f"{part}-{kind.replace('-', '.')}-ubyte")
    names = [stem + suffix for stem in stems for suffix in (".gz", "")]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise ImageSourceError(
        f"{folder} has none of {', '.join(names)}. "
        "Put the file there, or set data.source.folder to where the four IDX files are."
    )


def _read_sums(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    sums = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        digest, _, name = line.partition(" ")
        sums[name.lstrip(" *")] = digest.lower()
    return sums


def _verified_digest(path: Path, sums: dict[str, str]) -> str:
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    expected = sums.get(path.name, actual)
    if actual != expected:
        raise ImageSourceError(
            f"{path} is not the file that {_SUMS} beside it describes: "
            f"expected SHA-256 {expected}, got {actual}. "
            f"{_restore(path)} If you changed it on purpose, change {_SUMS} too."
        )
    return actual


def _class_names(source: IdxSource, folder: Path, highest_label: int) -> tuple[str, ...]:
    if source.classes is not None:
        return tuple(source.classes)
    path = folder / _CLASSES
    if path.is_file():
        lines = path.read_text(encoding="utf-8").splitlines()
        return tuple(line.strip() for line in lines if line.strip())
    return tuple(str(label) for label in range(highest_label + 1))


def _restore(path: Path) -> str:
    return f"Restore the file (git checkout -- {path}) or get it again."
