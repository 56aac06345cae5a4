"""A folder of checkpoints in the catalog.

Knows Kedro; what a checkpoint's file looks like is models.checkpoint's business.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset

from model_compression.datasets.folder_mapping import FolderMapping
from model_compression.models.checkpoint import Checkpoint, read_checkpoint, write_checkpoint


class CheckpointFolderDataset(AbstractDataset[Mapping[str, Checkpoint], Mapping[str, Checkpoint]]):
    """A safetensors file a name. Loading reads a file when it is asked for; saving adds, replaces.

    ::

        more_teachers:
          type: model_compression.datasets.CheckpointFolderDataset
          filepath: data/06_models/more_teachers
    """

    def __init__(self, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        """Names the folder; it need not exist yet.

        Args:
            filepath: The folder.
            metadata: Ignored here; Kedro-Viz and the tracking hook read it.
        """
        self._filepath = Path(filepath)
        self._files = FolderMapping(self._filepath, ".safetensors", read_checkpoint)
        self.metadata = metadata

    def load(self) -> Mapping[str, Checkpoint]:
        """What is in the folder, by name; always as it is at the moment."""
        return self._files

    def save(self, data: Mapping[str, Checkpoint]) -> None:
        """Writes the given files, each whole or not at all; the others stay as they are."""
        for name, checkpoint in data.items():
            write_checkpoint(checkpoint, self._files.path_for(name))

    def _exists(self) -> bool:
        """Never: which files are still to come isn't known here, so their maker is asked again."""
        return False

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
