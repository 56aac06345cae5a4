"""Image sets as Kedro datasets.

Knows Kedro's interface; the files are the business of ``images``.
"""

import base64
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset
from kedro_datasets._typing import ImagePreview

from model_compression.images import (
    ImageSet,
    ImageSetError,
    contact_sheet,
    read_image_set,
    write_image_set,
)


class ImageSetDataset(AbstractDataset[ImageSet, ImageSet]):
    """An image set in a folder of its own, memory-mapped when loaded.

    Example:
        In the catalog::

            train_images:
              type: model_compression.datasets.image_set.ImageSetDataset
              filepath: data/05_model_input/train_images
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        """Takes the folder, and metadata that Kedro ignores and plugins read."""
        self._folder = Path(filepath)
        self.metadata = metadata

    def load(self) -> ImageSet:
        """Opens the set; images stay on disk until they are indexed."""
        return read_image_set(self._folder)

    def save(self, data: ImageSet) -> None:
        """Writes the set, unless just this one is there already."""
        write_image_set(data, self._folder)

    def preview(self) -> ImagePreview:
        """Some images of each class, as Kedro-Viz shows them: a base64-coded PNG."""
        return ImagePreview(base64.b64encode(contact_sheet(self.load())).decode("ascii"))

    def _exists(self) -> bool:
        try:
            read_image_set(self._folder)
        except ImageSetError:
            return False
        return True

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._folder)}
