"""An array in an ``.npy`` file whose rows are read as they are asked for, in bounded memory.

Knows files and rows, not what they mean. A small array is memory-mapped, the quickest way to it. Of
a large one, pages that were looked at would stay in the process's memory for as long as the machine
has any to spare, and each row that isn't there yet would bring its neighbourhood along; so its rows
are read from the file instead, all those of one request at once.
"""

import os
import weakref
from collections import deque
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

MAPPED_BYTES = 256 * 2**20
"""The largest array that is memory-mapped: as much of the process's memory may be its pages."""


_BUFFERS = 1024
"""The most that one call of the system fills."""


class StoredRows:
    """Rows of a file, read by slice or by integer array; nothing is kept but the open file.

    Rows of one request are read in the file's order, neighbours together, after the system was told
    of them all, so that a disk works on many at a time. Reading goes on from the same file when
    another one is put into its place.

    Args:
        file: Open for reading; read through a descriptor of its own.
        offset: Where the first row begins, in bytes.
        shape: (N, …), in C order.
        dtype: Of the values.
    """

    def __init__(
        self, file: BinaryIO, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> None:
        self.shape = shape
        self.dtype = dtype
        self._offset = offset
        self._name = file.name
        self._row_bytes = int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize
        self._descriptor = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._descriptor)

    def __len__(self) -> int:
        """N."""
        return self.shape[0]

    def __deepcopy__(self, memo: dict[int, Any]) -> "StoredRows":
        """Itself: there is nothing in it that could change."""
        return self

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """The rows of a slice, of an array of integers or of truths, or of one integer.

        Raises:
            IndexError: If a position is outside.
            OSError: If the file can't be read, or ends before its time.
        """
        if isinstance(key, slice):
            start, stop, step = key.indices(len(self))
            if step == 1:
                return self._read_run(start, max(stop, start))
            return self._read_rows(np.arange(start, stop, step))
        positions = np.asarray(key)
        if positions.ndim == 0:
            return self[positions.reshape(1)][0]  # type: ignore[no-any-return]
        return self._read_rows(self._checked(positions))

    def _checked(self, positions: NDArray[Any]) -> NDArray[np.int64]:
        if positions.ndim == 1 and positions.dtype == np.bool_ and len(positions) == len(self):
            return np.flatnonzero(positions)
        if positions.ndim != 1 or (positions.size and positions.dtype.kind not in "iu"):
            raise IndexError(
                "Rows are chosen by a slice, or by a row of integers or of one truth each; got "
                f"{positions.dtype} of shape {positions.shape}."
            )
        positions = positions.astype(np.int64)
        outside = (positions < -len(self)) | (positions >= len(self))
        if outside.any():
            raise IndexError(f"There is no row {positions[outside][0]} among {len(self)}.")
        return np.where(positions < 0, positions + len(self), positions)

    def _read_rows(self, positions: NDArray[np.int64]) -> NDArray[Any]:
        order = np.argsort(positions, kind="stable")
        ordered = positions[order]
        # Where a run of neighbours begins; a row asked for twice begins one too.
        begins = np.flatnonzero(np.diff(ordered, prepend=-2) != 1)
        ends = np.append(begins[1:], len(ordered))[: len(begins)]
        runs = [
            (int(begin), int(end), self._offset + int(ordered[begin]) * self._row_bytes)
            for begin, end in zip(begins, ends, strict=True)
        ]
        if len(runs) > 1:
            for begin, end, place in runs:
                _announce(self._descriptor, place, (end - begin) * self._row_bytes)
        rows = np.empty((len(ordered), *self.shape[1:]), dtype=self.dtype)
        places = rows.reshape(len(rows), -1).view(np.uint8) if rows.size else rows
        for begin, end, place in runs:
            # Each row straight to where it belongs: sorting them afterwards took most of the time.
            self._fill([places[row].data for row in order[begin:end]], place)
        return rows

    def _read_run(self, start: int, stop: int) -> NDArray[Any]:
        rows = np.empty((stop - start, *self.shape[1:]), dtype=self.dtype)
        if rows.size:
            self._fill([rows.data.cast("B")], self._offset + start * self._row_bytes)
        return rows

    def _fill(self, buffers: Iterable[memoryview], place: int) -> None:
        missing = deque(buffers)
        while missing and self._row_bytes:
            count = os.preadv(self._descriptor, list(islice(missing, _BUFFERS)), place)
            if count == 0:
                raise OSError(
                    f"{self._name} ends at byte {place}, before its last row: something has "
                    "shortened it since it was opened. Delete its folder, and it is made anew."
                )
            place += count
            while missing and count >= len(missing[0]):
                count -= len(missing.popleft())
            if count:
                missing[0] = missing[0][count:]


def open_rows(path: Path, mapped_bytes: int | None = None) -> NDArray[Any] | StoredRows:
    """Opens the array in an ``.npy`` file; its rows stay there until they are indexed.

    Args:
        path: The file.
        mapped_bytes: The largest array that is memory-mapped; None: ``MAPPED_BYTES``.

    Raises:
        OSError, ValueError, EOFError: If there is no such file, or it isn't one, or is shorter than
            it says.
    """
    limit = MAPPED_BYTES if mapped_bytes is None else mapped_bytes
    if path.stat().st_size <= limit:
        return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, in_fortran_order, dtype = read(file)
        if in_fortran_order or dtype.hasobject or not shape:
            order = "Fortran" if in_fortran_order else "C"
            raise ValueError(
                f"{path}: expected rows of numbers, in C order; it holds {dtype} of shape {shape} "
                f"in {order} order"
            )
        size, offset = os.fstat(file.fileno()).st_size, file.tell()
        expected = offset + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        if size < expected:
            raise ValueError(f"expected {expected} bytes, got {size}")
        return StoredRows(file, offset, tuple(shape), dtype)


def _announce(descriptor: int, place: int, count: int) -> None:
    if hasattr(os, "posix_fadvise"):  # not on macOS
        os.posix_fadvise(descriptor, place, count, os.POSIX_FADV_WILLNEED)
