"""The images of a set while they are written: what a killed process wrote is taken up again.

Knows rows of bytes and a journal of them; where they come from and which of them are wanted is its
callers' business.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import PIL

from model_compression.fingerprint import fingerprint
from model_compression.images.file_images import Chunk

FOLDER = ".unfinished"
_PIXELS, _JOURNAL = "images.npy", "journal.jsonl"
_READ_BYTES = 2**22


class PartialSet:
    """An ``.npy`` file that grows chunk by chunk, beside the place where it is going to be.

    After each chunk the journal gets a line with its digest. On opening, chunks are trusted as far
    as every byte of them is what its digest says and the key is the same; all else is cut off. The
    key is made of what the pixels depend on: the images' fingerprint, the chunks and PIL's version.

    Args:
        folder: Of the set; the files are in a sub-folder of it.
        identity: The fingerprint of the images that are written.
        shape: (N, C, H, W), N counting images that turn out unreadable too.
        step: Images in a chunk.
        still_unreadable: Whether the image at a position, which could not be read, still can't;
            from one that now can, everything is written again.

    Attributes:
        done: Images that were looked at.
        rows: Images that were written.
        unreadable: Positions of the others, and why.
    """

    def __init__(
        self,
        folder: Path,
        identity: str,
        shape: tuple[int, ...],
        step: int,
        still_unreadable: Callable[[int], bool],
    ) -> None:
        self.done = 0
        self.rows = 0
        self.unreadable: list[tuple[int, str]] = []
        self._shape = shape
        self._row_bytes = int(np.prod(shape[1:], dtype=np.int64))
        self._folder = folder / FOLDER
        self._key = fingerprint(identity, shape, step, PIL.__version__)
        self._folder.mkdir(parents=True, exist_ok=True)
        for name in (_PIXELS, _JOURNAL):
            (self._folder / name).touch()
        self._pixels = (self._folder / _PIXELS).open("r+b")
        self._journal = (self._folder / _JOURNAL).open("r+b")
        self._take_up(still_unreadable)

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Closes the files, which stay for the next time, unless they were put in place."""
        self._pixels.close()
        self._journal.close()

    def append(self, chunk: Chunk) -> None:
        """Writes the next chunk, and then that it is there."""
        pixels = np.ascontiguousarray(chunk.pixels)
        self._pixels.write(pixels.data)
        self._pixels.flush()
        line = {
            "stop": chunk.stop,
            "rows": len(pixels),
            "digest": hashlib.blake2b(pixels.data, digest_size=16).hexdigest(),
            "unreadable": chunk.unreadable,
        }
        self._write_line(line)
        self._count(chunk.stop, len(pixels), chunk.unreadable)

    def put_in_place(self, target: Path) -> None:
        """Moves the finished images to ``target``, whole on the disk."""
        self._pixels.seek(0)
        self._pixels.write(_header((self.rows, *self._shape[1:])))
        self._pixels.flush()
        os.fsync(self._pixels.fileno())
        (self._folder / _PIXELS).replace(target)

    def remove(self) -> None:
        """Removes what is no longer needed."""
        shutil.rmtree(self._folder)

    def _take_up(self, still_unreadable: Callable[[int], bool]) -> None:
        journal_end, lines = 0, iter(self._journal)
        first = next(lines, b"")
        if _parsed(first) == {"key": self._key}:
            journal_end = len(first)
            for raw in lines:
                line = _parsed(raw)
                if line is None or not self._is_there(line, still_unreadable):
                    break
                journal_end += len(raw)
                self._count(line["stop"], line["rows"], [tuple(one) for one in line["unreadable"]])
        self._journal.seek(journal_end)
        self._journal.truncate()
        header = _header(self._shape)
        if not journal_end:
            self._pixels.seek(0)
            self._pixels.truncate()
            self._pixels.write(header)
            self._write_line({"key": self._key})
        self._pixels.truncate(len(header) + self.rows * self._row_bytes)
        self._pixels.seek(0, os.SEEK_END)

    def _is_there(self, line: dict[str, Any], still_unreadable: Callable[[int], bool]) -> bool:
        self._pixels.seek(len(_header(self._shape)) + self.rows * self._row_bytes)
        digest = hashlib.blake2b(digest_size=16)
        left = line["rows"] * self._row_bytes
        while left:
            read = self._pixels.read(min(left, _READ_BYTES))
            if not read:
                return False
            digest.update(read)
            left -= len(read)
        return digest.hexdigest() == line["digest"] and all(
            still_unreadable(position) for position, _ in line["unreadable"]
        )

    def _count(self, stop: int, rows: int, unreadable: list[tuple[int, str]]) -> None:
        self.done = stop
        self.rows += rows
        self.unreadable += unreadable

    def _write_line(self, content: dict[str, Any]) -> None:
        self._journal.write(json.dumps(content).encode() + b"\n")
        self._journal.flush()


def _parsed(line: bytes) -> dict[str, Any] | None:
    """What a line of the journal says; nothing if it was cut off."""
    if not line.endswith(b"\n"):
        return None
    try:
        content: dict[str, Any] = json.loads(line)
    except ValueError:
        return None
    return content


def _header(shape: tuple[int, ...]) -> bytes:
    # NumPy leaves room for the number of rows to grow, so it is as long for every number of them.
    buffer = BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "|u1", "fortran_order": False, "shape": tuple(shape)}
    )
    return buffer.getvalue()
