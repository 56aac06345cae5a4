"""Images in picture files, each decoded when it is indexed, or all of them by many processes.

Knows files by their names in a folder, and how to share them out; where the pixels go is its
callers' business.
"""

import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model_compression.images.image_set import ImageArray
from model_compression.images.raw_images import ImageSourceError
from model_compression.pictures import (
    Decoded,
    PixelFormat,
    UnreadablePictureError,
    decode_files,
    prepare_worker,
    read_picture,
)

Unreadable = Literal["refuse", "skip"]

_POOL_PAYS_FROM = 4.0
"""Seconds of work ahead from which processes are started; they need about one to be there."""


class Chunk(NamedTuple):
    """Neighbouring images of a set, decoded."""

    start: int
    """Position of the first one."""
    stop: int
    """Position after the last one."""
    pixels: NDArray[np.uint8]
    """Of those that can be read, in order, shape (n, C, H, W)."""
    unreadable: list[tuple[int, str]]
    """Positions of the others, and why."""


@dataclass(frozen=True, eq=False)
class FileImages:
    """Pictures in files; an ``ImageArray`` of which nothing is kept.

    Args:
        folder: Where the names begin.
        names: Paths in it, posix; shared by all choices among them.
        positions: Which of the names, int64, shape (N,).
        pixel_format: Size and channels; needs a size.
        unreadable: Whether files that can't be read refuse the whole set or are left out of it.
        workers: Processes that decode; None: as many as this process has cores.
        later: What is going to be decoded after this: it is looked at too before it is said which
            files can't be read.
    """

    folder: Path
    names: Sequence[str]
    positions: NDArray[np.int64]
    pixel_format: PixelFormat
    unreadable: Unreadable = "refuse"
    workers: int | None = None
    later: tuple["FileImages", ...] = ()

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, C, H, W)."""
        size = self.pixel_format.image_size
        assert size is not None
        return len(self.positions), 1 if self.pixel_format.channels == 1 else 3, size, size

    @property
    def dtype(self) -> np.dtype[Any]:
        """Always uint8."""
        return np.dtype(np.uint8)

    def __len__(self) -> int:
        """N."""
        return len(self.positions)

    def select(self, indices: NDArray[np.int64]) -> "FileImages":
        """The images at ``indices``, not yet decoded."""
        return replace(self, positions=self.positions[indices], later=())

    def path(self, position: int) -> Path:
        """The file of one image."""
        return self.folder / self.names[int(self.positions[position])]

    def __getitem__(self, key: Any) -> NDArray[np.uint8]:
        """Decodes the images of a slice or an integer array, in this process.

        Raises:
            ImageSourceError: At the first one that can't be read.
        """
        positions = np.arange(len(self))[key]
        pixels = np.empty((len(positions), *self.shape[1:]), dtype=np.uint8)
        for row, position in enumerate(positions):
            path = self.path(int(position))
            try:
                pixels[row] = read_picture(path, self.pixel_format)
            except UnreadablePictureError as error:
                raise ImageSourceError(
                    f"The image {path} cannot be read: {error}. Replace or remove it."
                ) from error
        return pixels

    def can_be_read(self, position: int) -> bool:
        """Whether the picture of one image can be had now."""
        try:
            read_picture(self.path(position), self.pixel_format)
        except UnreadablePictureError:
            return False
        return True

    def decoded(self, start: int, step: int) -> Iterator[Chunk]:
        """Decodes everything from ``start`` on, ``step`` images at a time, in order.

        It begins in this process. Where so much is left that it pays, worker processes go on, with
        two chunks each under way; so what is held in memory does not depend on the images' number,
        and neither do the pixels on that of the workers.
        """
        workers = process_cores() if self.workers is None else self.workers
        starts = deque(range(start, len(self), step))
        spent, done = 0.0, 0
        while starts and not (
            workers > 1 and done and spent / done * len(starts) > _POOL_PAYS_FROM
        ):
            began = time.monotonic()
            chunk = self._chunk(starts[0], decode_files(*self._task(starts.popleft(), step)), step)
            spent, done = spent + time.monotonic() - began, done + 1
            yield chunk
        if starts:
            yield from self._decoded_by(workers, starts, step)

    def _decoded_by(self, workers: int, starts: deque[int], step: int) -> Iterator[Chunk]:
        # Unlike the standard library's processes these don't run the main script again.
        from joblib.externals.loky import ProcessPoolExecutor  # noqa: PLC0415

        pool = ProcessPoolExecutor(workers, initializer=prepare_worker, initargs=(os.getpid(),))
        whole = False
        try:
            under_way: deque[tuple[int, Any]] = deque()
            while starts or under_way:
                while starts and len(under_way) < 2 * workers:
                    begin = starts.popleft()
                    under_way.append((begin, pool.submit(decode_files, *self._task(begin, step))))
                begin, future = under_way.popleft()
                yield self._chunk(begin, self._result(future), step)
            whole = True
        finally:
            pool.shutdown(wait=True, kill_workers=not whole)

    @staticmethod
    def _result(future: Any) -> Decoded:
        from concurrent.futures.process import BrokenProcessPool  # noqa: PLC0415

        try:
            result: Decoded = future.result()
        except BrokenProcessPool as error:
            raise ImageSourceError(
                "A process that decodes images was killed, by lack of memory or by a file that its "
                "decoder can't bear. What was decoded is kept: run it again, with fewer "
                "data.source.workers; with 1 of them the file is met in this process."
            ) from error
        return result

    def _task(self, start: int, step: int) -> tuple[str, list[str], PixelFormat]:
        names = [self.names[position] for position in self.positions[start : start + step]]
        return str(self.folder), names, self.pixel_format

    def _chunk(self, start: int, decoded: Decoded, step: int) -> Chunk:
        unreadable = [(start + place, reason) for place, reason in decoded.unreadable]
        return Chunk(start, min(start + step, len(self)), decoded.pixels, unreadable)


def chunks(images: ImageArray, start: int, step: int) -> Iterator[Chunk]:
    """All images from ``start`` on, ``step`` at a time, in order, wherever they come from."""
    if isinstance(images, FileImages):
        yield from images.decoded(start, step)
        return
    for begin in range(start, len(images), step):
        end = min(begin + step, len(images))
        yield Chunk(begin, end, images[begin:end], [])


def process_cores() -> int:
    """How many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
