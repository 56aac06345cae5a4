"""A teacher's answers on disk: asked once, read by every stage and trial that shows the same view.

Knows files of logits; what they answer is told by their key.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from model_compression.files import atomic_write

Answers = NDArray[np.float16]


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
        """The answers about a view, memory-mapped; ``None`` if it was not asked about.

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
            answers: Any = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise ValueError(
                f"{path} does not hold a teacher's answers ({error}): delete it, and the teacher "
                "is asked again"
            ) from error
        self._open[key, view] = answers
        return answers  # type: ignore[no-any-return]

    def keep(self, key: str, view: int, logits: Tensor) -> Answers:
        """Writes the answers about a view, whole or not at all; gives them back as stored.

        Args:
            key: What they answer.
            view: Its number.
            logits: float16, shape (N, K).
        """
        with (
            atomic_write(self._path(key, view)) as temporary,
            temporary.open("wb") as file,
        ):
            np.save(file, logits.numpy())
        kept = self.find(key, view)
        assert kept is not None
        return kept

    def _path(self, key: str, view: int) -> Path:
        return self.folder / key / f"view_{view}.npy"
