"""A JSON file in the catalog that may not be there yet, for what was measured before.

Knows JSON; what the values mean is their maker's business.
"""

import json
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset
from kedro_datasets._typing import JSONPreview

from model_compression.files import atomic_write


class JsonRecordDataset(AbstractDataset[Any, Any]):
    """A JSON file, written whole or not at all.

    ::

        "{stage}.known_generalisation":
          type: model_compression.datasets.JsonRecordDataset
          filepath: data/08_reporting/{stage}/generalisation.json
          optional: true
    """

    def __init__(
        self, filepath: str, optional: bool = False, metadata: dict[str, Any] | None = None
    ) -> None:
        """Places the record.

        Args:
            filepath: The JSON file.
            optional: Load ``None`` where there is no file, rather than fail.
            metadata: Ignored here; Kedro-Viz and the tracking hook read it.
        """
        self._filepath = Path(filepath)
        self._optional = optional
        self.metadata = metadata

    def load(self) -> Any:
        """The stored values; ``None`` if they are optional and there are none.

        Raises:
            ValueError: If the file is no JSON; names it.
        """
        if self._optional and not self._filepath.exists():
            return None
        try:
            return json.loads(self._filepath.read_text())
        except ValueError as error:
            raise ValueError(
                f"{self._filepath} is not JSON ({error}): delete it, and it is made again"
            ) from error

    def save(self, data: Any) -> None:
        """Writes the values; a number that is none is refused, since JSON has no word for it."""
        content = json.dumps(data, indent=1, allow_nan=False)
        with atomic_write(self._filepath) as temporary:
            temporary.write_text(content + "\n")

    def preview(self) -> JSONPreview:
        """The file's content, as Kedro-Viz shows it."""
        return JSONPreview(self._filepath.read_text())

    def _exists(self) -> bool:
        return self._filepath.exists()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "optional": self._optional}
