"""Normalisation constants as a small JSON file.

Knows the file; what the constants mean is in images/.
"""

from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset
from kedro_datasets._typing import JSONPreview

from model_compression.files import atomic_write
from model_compression.images import Normalization


class NormalizationDataset(AbstractDataset[Normalization, Normalization]):
    """Loads and saves a ``Normalization``."""

    def __init__(self, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = Path(filepath)
        self.metadata = metadata

    def load(self) -> Normalization:
        """The constants in the file."""
        return Normalization.model_validate_json(self._filepath.read_text())

    def save(self, data: Normalization) -> None:
        """Writes the constants, whole or not at all."""
        with atomic_write(self._filepath) as temporary:
            temporary.write_text(data.model_dump_json(indent=2) + "\n")

    def preview(self) -> JSONPreview:
        """The constants, as Kedro-Viz shows them."""
        return JSONPreview(self.load().model_dump_json())

    def _exists(self) -> bool:
        return self._filepath.exists()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
