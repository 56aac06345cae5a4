import pytest
from kedro.io import DatasetError

from model_compression.datasets import FolderDataset


def test_folder_is_passed_on_as_its_path(tmp_path):
    dataset = FolderDataset(str(tmp_path))
    assert dataset.load() == tmp_path
    assert dataset.exists()


def test_missing_folder_is_named(tmp_path):
    dataset = FolderDataset(str(tmp_path / "absent"))
    assert not dataset.exists()
    with pytest.raises(DatasetError, match="absent is not a folder: create it"):
        dataset.load()


def test_nothing_is_written_into_the_folder(tmp_path):
    with pytest.raises(DatasetError, match="read only"):
        FolderDataset(str(tmp_path)).save("anything")
    assert list(tmp_path.iterdir()) == []
