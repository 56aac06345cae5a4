"""Deployable files in the catalog.

Knows Kedro; what such a file looks like is deployment.onnx_model's business.
"""

import json
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset
from kedro_datasets._typing import JSONPreview

from model_compression.deployment import OnnxModel, read_onnx, write_onnx


class OnnxModelDataset(AbstractDataset[OnnxModel, OnnxModel]):
    """A deployable in an ONNX file.

    ::

        "{stage}.onnx":
          type: model_compression.datasets.onnx_model.OnnxModelDataset
          filepath: data/06_models/{stage}/model.onnx
    """

    def __init__(self, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        """Names the file; it need not exist yet.

        Args:
            filepath: The file, usually ``model.onnx``.
            metadata: Ignored here; Kedro-Viz and the tracking hook read it.
        """
        self._filepath = Path(filepath)
        self.metadata = metadata

    def load(self) -> OnnxModel:
        """Reads the file and checks that it keeps the contract of a deployable."""
        return read_onnx(self._filepath)

    def save(self, data: OnnxModel) -> None:
        """Writes the file, whole or not at all."""
        write_onnx(data, self._filepath)

    def preview(self) -> JSONPreview:
        """What the file takes and gives, and how large it is, as Kedro-Viz shows it."""
        model = self.load()
        return JSONPreview(
            json.dumps(
                {
                    "stage": model.stage,
                    "architecture": model.architecture,
                    "bytes": model.size,
                    "images": ["N", *model.input_shape],
                    "logits": ["N", len(model.classes)],
                    "classes": model.classes,
                    "fingerprint": model.fingerprint,
                }
            )
        )

    def _exists(self) -> bool:
        return self._filepath.is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
