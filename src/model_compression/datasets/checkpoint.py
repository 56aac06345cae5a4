"""Checkpoints in the catalog.

Knows Kedro; what a checkpoint's file looks like is models.checkpoint's business.
"""

import json
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset
from kedro_datasets._typing import JSONPreview

from model_compression.models.checkpoint import Checkpoint, read_checkpoint, write_checkpoint


class CheckpointDataset(AbstractDataset[Checkpoint, Checkpoint]):
    """A checkpoint in a safetensors file.

    ::

        "{stage}.checkpoint":
          type: model_compression.datasets.checkpoint.CheckpointDataset
          filepath: data/06_models/{stage}/model.safetensors
    """

    def __init__(self, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        """Names the file; it need not exist yet.

        Args:
            filepath: The file, usually ``model.safetensors``.
            metadata: Ignored here; Kedro-Viz and the tracking hook read it.
        """
        self._filepath = Path(filepath)
        self.metadata = metadata

    def load(self) -> Checkpoint:
        """Reads the checkpoint and checks it against its own spec."""
        return read_checkpoint(self._filepath)

    def save(self, data: Checkpoint) -> None:
        """Writes the checkpoint, whole or not at all."""
        write_checkpoint(data, self._filepath)

    def preview(self) -> JSONPreview:
        """The network, and what is known of its making, as Kedro-Viz shows it; not the weights."""
        return JSONPreview(json.dumps(self.load().header()))

    def _exists(self) -> bool:
        return self._filepath.is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
