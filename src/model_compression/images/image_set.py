"""A set of labelled images: the one shape in which every part of the project gets its data.

Knows neither where the images come from nor what is done with them.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from model_compression.fingerprint import fingerprint


class ImageSetError(ValueError):
    """The parts of an image set don't fit together, or its files are not what they should be."""


class ImageArray(Protocol):
    """Images read by slice or by integer array: an ndarray, a memmap, a decoding reader."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, C, H, W)."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Always uint8."""

    def __len__(self) -> int:
        """N."""

    def __getitem__(self, key: Any, /) -> NDArray[np.uint8]:
        """The images of a slice or an int64 index array, shape (n, C, H, W)."""


@runtime_checkable
class Selectable(Protocol):
    """An image array that gives some of its images as another one, without reading them."""

    def select(self, indices: NDArray[np.int64], /) -> ImageArray:
        """The images at ``indices``, in that order."""


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Labelled images with a fingerprint that changes when they do.

    Raises:
        ImageSetError: If the images are not uint8 of shape (N, C, H, W) with N, C, H, W > 0, or the
            labels are not N int64 numbers that each name a class.
    """

    images: ImageArray
    """uint8, shape (N, C, H, W); may decode or read from disk only when indexed."""
    labels: NDArray[np.int64]
    """Class numbers, shape (N,)."""
    classes: tuple[str, ...]
    """The class names; a label is an index into them."""
    fingerprint: str
    """Identifies the pixels, labels and classes."""

    def __post_init__(self) -> None:
        """Checks that the parts fit together."""
        shape = tuple(self.images.shape)
        if len(shape) != 4 or min(shape) < 1:
            raise ImageSetError(
                f"Images must have the shape (N, C, H, W) and none of these may be 0; got {shape}."
            )
        if self.images.dtype != np.uint8:
            raise ImageSetError(f"Images must be uint8; got {self.images.dtype}.")
        if self.labels.dtype != np.int64 or self.labels.ndim != 1:
            raise ImageSetError(
                "Labels must be int64 of shape (N,); "
                f"got {self.labels.dtype} of shape {self.labels.shape}."
            )
        if len(self.labels) != shape[0]:
            raise ImageSetError(
                f"Each image needs one label; got {shape[0]} images and {len(self.labels)} labels."
            )
        if len(set(self.classes)) != len(self.classes):
            raise ImageSetError(f"Class names must differ; got {', '.join(self.classes)}.")
        lowest, highest = int(self.labels.min()), int(self.labels.max())
        if lowest < 0 or highest >= len(self.classes):
            raise ImageSetError(
                f"Labels must be class numbers from 0 to {len(self.classes) - 1} "
                f"({len(self.classes)} classes); got labels from {lowest} to {highest}."
            )

    def __len__(self) -> int:
        """The number of images."""
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    def subset(self, indices: NDArray[np.int64] | Sequence[int]) -> "ImageSet":
        """The images at ``indices``, in that order; nothing is read or copied but the labels.

        Args:
            indices: Positions in this set, each from 0 to N - 1; at least one.

        Raises:
            ImageSetError: If ``indices`` is empty, not a row of integers, or points outside.
        """
        chosen = np.asarray(indices)
        if chosen.ndim != 1 or chosen.size == 0 or not np.issubdtype(chosen.dtype, np.integer):
            raise ImageSetError(
                "A subset takes at least one index, as a row of integers; "
                f"got {chosen.dtype} of shape {chosen.shape}."
            )
        lowest, highest = int(chosen.min()), int(chosen.max())
        if lowest < 0 or highest >= len(self):
            raise ImageSetError(
                f"Indices must be from 0 to {len(self) - 1}; got {lowest} to {highest}."
            )
        chosen = chosen.astype(np.int64)
        return ImageSet(
            images=(
                self.images.select(chosen)
                if isinstance(self.images, Selectable)
                else _View(self.images, chosen)
            ),
            labels=self.labels[chosen],
            classes=self.classes,
            fingerprint=fingerprint(self.fingerprint, array_digest(chosen)),
        )


def array_digest(array: NDArray[Any]) -> str:
    """SHA-256 of an array's dtype, shape and bytes, the same on machines of either byte order."""
    portable = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
    digest = hashlib.sha256(f"{portable.dtype.str}{portable.shape}".encode())
    digest.update(portable.data)
    return digest.hexdigest()


class _View:
    """Some images of another array, found by their positions there."""

    def __init__(self, source: ImageArray, indices: NDArray[np.int64]) -> None:
        self._source = source
        self._indices = indices
        self.shape = (len(indices), *source.shape[1:])
        self.dtype = source.dtype

    def __len__(self) -> int:
        return len(self._indices)

    def select(self, indices: NDArray[np.int64]) -> ImageArray:
        return _View(self._source, self._indices[indices])

    def __getitem__(self, key: Any) -> NDArray[np.uint8]:
        return self._source[self._indices[key]]
