import pandas as pd
import pytest
from kedro.io import DatasetError

from model_compression.datasets import OptionalDataset


@pytest.fixture
def table(tmp_path):
    entry = {"type": "pandas.CSVDataset", "filepath": str(tmp_path / "table.csv")}
    return OptionalDataset({**entry, "save_args": {"index": False}})


def test_what_is_not_there_is_none(table):
    assert not table.exists()
    assert table.load() is None


def test_what_is_there_is_loaded_as_the_other_dataset_does(table):
    frame = pd.DataFrame({"a": [1, 2]})
    table.save(frame)
    assert table.exists()
    pd.testing.assert_frame_equal(table.load(), frame)


def test_a_file_that_cannot_be_read_is_an_error_and_not_taken_for_missing(table, tmp_path):
    (tmp_path / "table.csv").write_text("")
    with pytest.raises(DatasetError):
        table.load()
