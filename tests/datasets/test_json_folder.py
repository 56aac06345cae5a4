import json
import math
from pathlib import Path

import pytest
from kedro.io import DataCatalog, DatasetError

from model_compression.datasets import JsonFolderDataset


@pytest.fixture
def dataset(tmp_path: Path) -> JsonFolderDataset:
    return JsonFolderDataset(str(tmp_path / "folder"), metadata={"a": 1})


def test_a_folder_that_is_not_there_is_empty(dataset):
    assert dict(dataset.load()) == {}
    assert len(dataset.load()) == 0
    assert "anything" not in dataset.load()


def test_saving_adds_and_replaces_and_leaves_the_others(dataset, tmp_path):
    dataset.save({"a": {"x": 1}, "b": [1, 2]})
    dataset.save({"b": "new", "c": None})
    dataset.save({})
    assert dict(dataset.load()) == {"a": {"x": 1}, "b": "new", "c": None}
    assert sorted(path.name for path in (tmp_path / "folder").iterdir()) == [
        "a.json",
        "b.json",
        "c.json",
    ]


def test_what_was_loaded_before_shows_what_others_have_written_since(dataset, tmp_path):
    loaded = dataset.load()
    JsonFolderDataset(str(tmp_path / "folder")).save({"late": 3})
    assert loaded["late"] == 3
    assert list(loaded) == ["late"]


def test_a_write_that_was_cut_off_is_not_taken_for_a_file(dataset, tmp_path):
    dataset.save({"a": 1})
    (tmp_path / "folder" / ".b.json.123.tmp").write_text("{")
    assert dict(dataset.load()) == {"a": 1}


def test_a_value_that_json_lacks_leaves_the_old_file(dataset):
    dataset.save({"a": 1})
    with pytest.raises(DatasetError, match="not JSON compliant"):
        dataset.save({"a": math.nan})
    assert dataset.load()["a"] == 1


@pytest.mark.parametrize("name", ["../a", "a/b", ".a", ""])
def test_a_name_that_leads_elsewhere_is_refused(dataset, name, tmp_path):
    with pytest.raises(DatasetError, match="can't be the name of a file in"):
        dataset.save({name: 1})
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_named_when_it_is_read(dataset, tmp_path):
    dataset.save({"a": 1, "b": 2})
    (tmp_path / "folder" / "b.json").write_text('{"half": ')
    assert dataset.load()["a"] == 1
    with pytest.raises(ValueError, match=r"b\.json is not JSON .*delete it"):
        dataset.load()["b"]


def test_its_maker_is_always_asked_for_more(dataset):
    dataset.save({"a": 1})
    assert not dataset.exists()


def test_the_catalog_makes_it(tmp_path):
    entry = {
        "type": "model_compression.datasets.JsonFolderDataset",
        "filepath": str(tmp_path / "folder"),
        "metadata": {"mlflow": {"as": "trials"}},
    }
    catalog = DataCatalog.from_config({"trials": entry})
    catalog.save("trials", {"a": 1})
    assert dict(catalog.load("trials")) == {"a": 1}
    assert catalog["trials"].metadata == entry["metadata"]
    assert str(tmp_path) in str(catalog["trials"])


def test_kedro_viz_shows_all_files_by_name(dataset):
    dataset.save({"a": {"x": 1}, "b": [1, 2]})
    assert json.loads(dataset.preview()) == {"a": {"x": 1}, "b": [1, 2]}
