import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from model_compression.images import ImageSet

MakeImageSet = Callable[..., ImageSet]
PackIdx = Callable[[NDArray[np.uint8]], bytes]


def pack_idx(array: NDArray[np.uint8]) -> bytes:
    header = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.tobytes()


@pytest.fixture(name="pack_idx")
def pack_idx_fixture() -> PackIdx:
    """Turns an array of bytes into the content of an IDX file."""
    return pack_idx


@pytest.fixture
def make_image_set() -> MakeImageSet:
    """Makes a set of random images with labels 0, 1, 2, 0, 1, 2, …"""

    def make(
        count: int = 12, shape: tuple[int, int, int] = (1, 4, 5), classes: int = 3
    ) -> ImageSet:
        generator = np.random.default_rng(count)
        return ImageSet(
            images=generator.integers(0, 256, (count, *shape), dtype=np.uint8),
            labels=np.arange(count) % classes,
            classes=tuple("abcdefghij"[:classes]),
            fingerprint="made",
        )

    return make


@pytest.fixture
def idx_arrays() -> dict[str, NDArray[np.uint8]]:
    generator = np.random.default_rng(0)
    return {
        "train-images-idx3-ubyte": generator.integers(0, 256, (40, 6, 5), dtype=np.uint8),
        "train-labels-idx1-ubyte": (np.arange(40) % 4).astype(np.uint8),
        "t10k-images-idx3-ubyte": generator.integers(0, 256, (12, 6, 5), dtype=np.uint8),
        "t10k-labels-idx1-ubyte": (np.arange(12) % 4).astype(np.uint8),
    }


@pytest.fixture
def idx_folder(tmp_path: Path, idx_arrays: dict[str, NDArray[np.uint8]]) -> Path:
    """Four gzipped IDX files: 40 training and 12 test images of 6 x 5 in 4 classes."""
    folder = tmp_path / "idx"
    folder.mkdir()
    for name, array in idx_arrays.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(pack_idx(array), mtime=0))
    return folder
