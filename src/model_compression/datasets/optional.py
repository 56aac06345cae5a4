"""A dataset that need not be there.

Knows whether the other one exists; what is in it is that one's business.
"""

from typing import Any

from kedro.io import AbstractDataset


class OptionalDataset(AbstractDataset[Any, Any]):
    """Loads another dataset, or ``None`` where that one does not exist."""

    def __init__(self, dataset: dict[str, Any], metadata: dict[str, Any] | None = None) -> None:
        """Takes the other one.

        Args:
            dataset: Its entry, as in the catalog.
            metadata: Whatever plugins want to know.
        """
        self._dataset = AbstractDataset.from_config("dataset", dataset)
        self.metadata = metadata

    def load(self) -> Any:
        """What the dataset holds; ``None`` if it does not exist.

        Raises:
            DatasetError: If it exists and cannot be read.
        """
        return self._dataset.load() if self._dataset.exists() else None

    def save(self, data: Any) -> None:
        """Saves to the dataset."""
        self._dataset.save(data)

    def _exists(self) -> bool:
        return self._dataset.exists()

    def _describe(self) -> dict[str, Any]:
        return {"dataset": repr(self._dataset)}
