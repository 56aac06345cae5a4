"""A folder of files of one kind in the catalog.

Knows Kedro and names; how a file is read and written is its kind's business.
"""

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from kedro.io import AbstractDataset

from model_compression.datasets.folder_mapping import FolderMapping

T = TypeVar("T")


class FilesByName(AbstractDataset[Mapping[str, T], Mapping[str, T]]):
    """A file a name. Loading reads a file when it is asked for; saving adds and replaces."""

    suffix: ClassVar[str]
    """Of the files that belong to the folder, such as ``.json``."""

    def __init__(self, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        """Names the folder; it need not exist yet.

        Args:
            filepath: The folder.
            metadata: Ignored here; Kedro-Viz and the tracking hook read it.
        """
        self._filepath = Path(filepath)
        self._files: FolderMapping[T] = FolderMapping(self._filepath, self.suffix, self.read)
        self.metadata = metadata

    @staticmethod
    @abstractmethod
    def read(path: Path, /) -> T:
        """One file's content; errors name the file."""

    @staticmethod
    @abstractmethod
    def write(value: T, path: Path, /) -> None:
        """Writes one file, whole or not at all."""

    def load(self) -> Mapping[str, T]:
        """What is in the folder, by name; always as it is at the moment."""
        return self._files

    def save(self, data: Mapping[str, T]) -> None:
        """Writes the given files, each whole or not at all; the others stay as they are."""
        for name, value in data.items():
            self.write(value, self._files.path_for(name))

    def _exists(self) -> bool:
        """Never: which files are still to come isn't known here, so their maker is asked again."""
        return False

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
