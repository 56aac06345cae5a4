"""A teacher's answers on disk: asked once, read by every stage and trial that shows the same view.

Knows files of logits; what they answer is told by their key.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from model_compression.files import atomic_write
from model_compression.stored_rows import StoredRows, open_rows

Answers = NDArray[np.float16] | StoredRows


class AnswerShelf:
    """Logits, float16, a file for each view: ``<folder>/<key>/view_<number>.npy``, (N, K).

    It holds nothing that could not be asked again: the folder can be deleted at any time.

    Args:
        folder: Need not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: dict[tuple[str, int], Answers] = {}

    def find(self, key: str, view: int) -> Answers | None:
        """The answers about a view, read as needed; ``None`` if it was not asked about.

        Raises:
            ValueError: If the file is damaged.
        """
        found = self._open.get((key, view))
        if found is not None:
            return found
        path = self._path(key, view)
        if not path.exists():
            return None
        try:
            answers = open_rows(path)
        except (ValueError, EOFError, OSError) as error:
            raise ValueError(
                f"{path} does not hold a teacher's answers ({error}): delete it, and the teacher "
                "is asked again"
            ) from error
        self._open[key, view] = answers
        return answers

    def keep(
        self, key: str, view: int, shape: tuple[int, int], logits: Iterable[Tensor]
    ) -> Answers:
        """Writes the answers about a view, whole or not at all; gives them back as stored.

        Args:
            key: What they answer.
            view: Its number.
            shape: (N, K).
            logits: Parts of them, one after the other as they are answered, each float16 of shape
                (n, K) on the CPU.
        """
        header = {"descr": "<f2", "fortran_order": False, "shape": shape}
        with (
            atomic_write(self._path(key, view)) as temporary,
            temporary.open("wb") as file,
        ):
            np.lib.format.write_array_header_1_0(file, header)
            for part in logits:
                file.write(part.contiguous().numpy().astype("<f2", copy=False).data)
        kept = self.find(key, view)
        assert kept is not None
        return kept

    def _path(self, key: str, view: int) -> Path:
        return self.folder / key / f"view_{view}.npy"
