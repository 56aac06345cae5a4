"""A folder that others put files into, passed on as its path.

Knows where it is and nothing of what is in it.
"""

from pathlib import Path
from typing import Any, Never

from kedro.io import AbstractDataset, DatasetError


class FolderDataset(AbstractDataset[Never, Path]):
    """Loads the absolute path of an existing folder; cannot be saved to."""

    def __init__(self, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = Path(filepath)
        self.metadata = metadata

    def load(self) -> Path:
        """The folder's path.

        Raises:
            DatasetError: If there is no such folder.
        """
        if not self._filepath.is_dir():
            raise DatasetError(
                f"{self._filepath} is not a folder: create it or correct the catalog"
            )
        return self._filepath

    def save(self, data: Never) -> None:
        """Refuses: the folder's content is not the pipelines' to write.

        Raises:
            DatasetError: Always.
        """
        raise DatasetError(f"{self._filepath} is read only: its files are put there by people")

    def _exists(self) -> bool:
        return self._filepath.is_dir()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
