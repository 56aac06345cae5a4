"""A folder of JSON files in the catalog.

Knows JSON; what the values mean is their maker's business.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset

from model_compression.datasets.folder_mapping import FolderMapping
from model_compression.files import atomic_write


class JsonFolderDataset(AbstractDataset[Mapping[str, Any], Mapping[str, Any]]):
    """A JSON file a name. Loading reads a file when it is asked for; saving adds and replaces.

    ::

        distillation_benchmark.trials:
          type: model_compression.datasets.JsonFolderDataset
          filepath: data/08_reporting/distillation_benchmark/trials
    """

    def __init__(self, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        """Names the folder; it need not exist yet.

        Args:
            filepath: The folder.
            metadata: Ignored here; Kedro-Viz and the tracking hook read it.
        """
        self._filepath = Path(filepath)
        self._files: FolderMapping[Any] = FolderMapping(self._filepath, ".json", _read)
        self.metadata = metadata

    def load(self) -> Mapping[str, Any]:
        """What is in the folder, by name; always as it is at the moment."""
        return self._files

    def save(self, data: Mapping[str, Any]) -> None:
        """Writes the given files, each whole or not at all; the others stay as they are."""
        for name, value in data.items():
            content = json.dumps(value, indent=1, allow_nan=False)
            with atomic_write(self._files.path_for(name)) as temporary:
                temporary.write_text(content + "\n")

    def _exists(self) -> bool:
        """Never: which files are still to come isn't known here, so their maker is asked again."""
        return False

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(
            f"{path} is not JSON ({error}): delete it, and it is made again"
        ) from error
