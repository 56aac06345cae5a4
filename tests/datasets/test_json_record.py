import json
import math
from pathlib import Path

import pytest
from kedro.io import DatasetError

from model_compression.datasets import JsonRecordDataset


def test_what_is_saved_is_loaded(tmp_path: Path):
    dataset = JsonRecordDataset(str(tmp_path / "new" / "record.json"), metadata={"a": 1})
    assert not dataset.exists()
    dataset.save({"a": [0.1, None], "b": {"c": "d"}})
    assert dataset.exists()
    assert dataset.load() == {"a": [0.1, None], "b": {"c": "d"}}
    assert json.loads(dataset.preview()) == dataset.load()


def test_what_may_be_missing_is_none_and_what_must_be_there_is_an_error(tmp_path: Path):
    path = str(tmp_path / "record.json")
    assert JsonRecordDataset(path, optional=True).load() is None
    with pytest.raises(DatasetError, match=r"record\.json"):
        JsonRecordDataset(path).load()


def test_a_damaged_file_is_named(tmp_path: Path):
    (tmp_path / "record.json").write_text('{"a": 1')
    with pytest.raises(DatasetError, match=r"record\.json is not JSON .* delete it"):
        JsonRecordDataset(str(tmp_path / "record.json"), optional=True).load()


def test_a_number_that_is_none_is_refused_and_the_old_file_stays(tmp_path: Path):
    dataset = JsonRecordDataset(str(tmp_path / "record.json"))
    dataset.save(1)
    with pytest.raises(DatasetError):
        dataset.save({"a": math.nan})
    assert dataset.load() == 1
    assert len(list(tmp_path.iterdir())) == 1
