"""A folder of JSON files in the catalog.

Knows JSON; what the values mean is their maker's business.
"""

import json
from pathlib import Path
from typing import Any

from kedro_datasets._typing import JSONPreview

from model_compression.datasets.files_by_name import FilesByName
from model_compression.files import atomic_write


class JsonFolderDataset(FilesByName[Any]):
    """A JSON file a name. Loading reads a file when it is asked for; saving adds and replaces.

    ::

        distillation_benchmark.trials:
          type: model_compression.datasets.JsonFolderDataset
          filepath: data/08_reporting/distillation_benchmark/trials
    """

    suffix = ".json"

    @staticmethod
    def read(path: Path) -> Any:
        """One file's value.

        Raises:
            ValueError: If it is not JSON.
        """
        try:
            return json.loads(path.read_text())
        except ValueError as error:
            raise ValueError(
                f"{path} is not JSON ({error}): delete it, and it is made again"
            ) from error

    @staticmethod
    def write(value: Any, path: Path) -> None:
        """Writes one value.

        Raises:
            ValueError: If JSON has no such number (NaN); the old file stays.
        """
        content = json.dumps(value, indent=1, allow_nan=False)
        with atomic_write(path) as temporary:
            temporary.write_text(content + "\n")

    def preview(self) -> JSONPreview:
        """All files by name, as Kedro-Viz shows them."""
        return JSONPreview(json.dumps(dict(self.load())))
