"""A teacher's stored answers in the catalog.

Knows Kedro; what is on the shelf is distillation.answers' business.
"""

from pathlib import Path
from typing import Any, Never

from kedro.io import AbstractDataset, DatasetError

from model_compression.distillation import AnswerShelf


class AnswerShelfDataset(AbstractDataset[Never, AnswerShelf]):
    """Loads the shelf, which writes itself when a teacher is asked; cannot be saved to.

    ::

        teacher_answers:
          type: model_compression.datasets.AnswerShelfDataset
          filepath: data/06_models/teacher_answers
    """

    def __init__(self, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        """Names the folder; it need not exist yet.

        Args:
            filepath: The folder.
            metadata: Ignored here; Kedro-Viz reads it.
        """
        self._filepath = Path(filepath)
        self.metadata = metadata

    def load(self) -> AnswerShelf:
        """The shelf, empty where there is no folder."""
        return AnswerShelf(self._filepath)

    def save(self, data: Never) -> None:
        """Refuses.

        Raises:
            DatasetError: Always.
        """
        raise DatasetError(
            f"{self._filepath} is written answer by answer, while a teacher is asked"
        )

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
