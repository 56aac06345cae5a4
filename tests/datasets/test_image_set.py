import base64
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kedro.io import DataCatalog, DatasetError
from PIL import Image

from model_compression.datasets.image_set import ImageSetDataset
from model_compression.images import ImageSet


@pytest.fixture
def image_set() -> ImageSet:
    images = np.random.default_rng(0).integers(0, 256, (6, 1, 4, 4), dtype=np.uint8)
    return ImageSet(images, np.arange(6) % 2, ("a", "b"), "made")


@pytest.fixture
def entry(tmp_path: Path) -> dict[str, Any]:
    return {
        "type": "model_compression.datasets.image_set.ImageSetDataset",
        "filepath": str(tmp_path / "images"),
        "metadata": {"kedro-viz": {"layer": "model_input"}},
    }


def test_the_catalog_gives_back_what_it_was_given(
    entry: dict[str, Any], image_set: ImageSet
) -> None:
    DataCatalog.from_config({"images": entry}).save("images", image_set)
    loaded = DataCatalog.from_config({"images": entry}).load("images")
    np.testing.assert_array_equal(loaded.images[:], image_set.images)
    np.testing.assert_array_equal(loaded.labels, image_set.labels)
    assert (loaded.classes, loaded.fingerprint) == (("a", "b"), "made")


def test_it_exists_only_while_it_is_whole(entry: dict[str, Any], image_set: ImageSet) -> None:
    dataset = ImageSetDataset(filepath=entry["filepath"])
    assert not dataset.exists()
    dataset.save(image_set)
    assert dataset.exists()
    os.truncate(Path(entry["filepath"]) / "images.npy", 100)
    assert not dataset.exists()


def test_the_error_of_a_missing_set_names_the_file_and_the_way_out(entry: dict[str, Any]) -> None:
    with pytest.raises(DatasetError, match=r"meta\.json is missing.*data_preparation"):
        ImageSetDataset(filepath=entry["filepath"]).load()


def test_metadata_is_kept_for_plugins(entry: dict[str, Any]) -> None:
    dataset = DataCatalog.from_config({"images": entry})["images"]
    assert dataset.metadata == entry["metadata"]
    assert entry["filepath"] in str(dataset)


def test_kedro_viz_is_given_a_picture(entry: dict[str, Any], image_set: ImageSet) -> None:
    dataset = ImageSetDataset(filepath=entry["filepath"])
    dataset.save(image_set)
    with Image.open(io.BytesIO(base64.b64decode(dataset.preview()))) as picture:
        assert picture.format == "PNG"
        assert picture.height == 2 * 64 + 2
    assert ImageSetDataset.preview.__annotations__["return"].__name__ == "ImagePreview"
