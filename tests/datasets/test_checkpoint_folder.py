from pathlib import Path

import pytest
import torch
from kedro.io import DataCatalog

from model_compression.datasets import CheckpointFolderDataset
from model_compression.images import Normalization
from model_compression.models import Checkpoint, ModelSettings, TensorFileError, build_model


@pytest.fixture
def dataset(tmp_path: Path) -> CheckpointFolderDataset:
    return CheckpointFolderDataset(str(tmp_path / "folder"), metadata={"a": 1})


def checkpoint(stage: str) -> Checkpoint:
    spec = ModelSettings(name="net").spec((1, 12, 12), 2)
    return Checkpoint(
        spec=spec,
        weights=dict(build_model(spec).state_dict()),
        stage=stage,
        fingerprint=f"of {stage}",
        classes=("a", "b"),
        normalization=Normalization(mean=(0.5,), std=(0.5,)),
    )


def test_a_folder_that_is_not_there_is_empty(dataset):
    assert list(dataset.load()) == []


def test_files_that_people_put_there_are_found_by_name_in_order(dataset, tmp_path):
    others = CheckpointFolderDataset(str(tmp_path / "folder"))
    others.save({"wide": checkpoint("teacher"), "deep": checkpoint("teacher")})
    (tmp_path / "folder" / "notes.txt").write_text("not a checkpoint")
    assert list(dataset.load()) == ["deep", "wide"]


def test_saving_adds_and_replaces_and_leaves_the_others(dataset):
    first, second, third = (checkpoint(name) for name in ("x", "y", "z"))
    dataset.save({"a": first, "b": second})
    dataset.save({"b": third})
    loaded = dataset.load()
    assert {name: found.stage for name, found in loaded.items()} == {"a": "x", "b": "z"}
    assert torch.equal(loaded["b"].weights["conv1.weight"], third.weights["conv1.weight"])


def test_a_file_is_read_when_it_is_asked_for_and_not_before(dataset, tmp_path):
    dataset.save({"good": checkpoint("x")})
    (tmp_path / "folder" / "bad.safetensors").write_bytes(b"no checkpoint")
    loaded = dataset.load()
    assert loaded["good"].stage == "x"
    with pytest.raises(TensorFileError, match=r"bad\.safetensors"):
        loaded["bad"]


def test_the_catalog_makes_it(tmp_path):
    entry = {
        "type": "model_compression.datasets.CheckpointFolderDataset",
        "filepath": str(tmp_path / "folder"),
        "metadata": {"kedro-viz": {"layer": "models"}},
    }
    catalog = DataCatalog.from_config({"more_teachers": entry})
    catalog.save("more_teachers", {"a": checkpoint("x")})
    assert not catalog.exists("more_teachers")
    assert catalog.load("more_teachers")["a"].stage == "x"
    assert catalog["more_teachers"].metadata == entry["metadata"]
    assert str(tmp_path) in str(catalog["more_teachers"])
