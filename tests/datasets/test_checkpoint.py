import json
from pathlib import Path

import pytest
import torch
from kedro.io import DataCatalog, DatasetError

from model_compression.datasets.checkpoint import CheckpointDataset
from model_compression.images import Normalization
from model_compression.models import Checkpoint, ModelSettings, build_model


@pytest.fixture
def checkpoint() -> Checkpoint:
    spec = ModelSettings(name="net").spec((1, 12, 12), 2)
    return Checkpoint(
        spec=spec,
        weights=dict(build_model(spec).state_dict()),
        stage="student",
        fingerprint="abc",
        classes=("a", "b"),
        normalization=Normalization(mean=(0.5,), std=(0.5,)),
    )


def test_the_catalog_saves_and_loads_a_stages_checkpoint(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    entry = {
        "type": "model_compression.datasets.checkpoint.CheckpointDataset",
        "filepath": f"{tmp_path}/{{stage}}/model.safetensors",
        "metadata": {"kedro-viz": {"layer": "models"}},
    }
    catalog = DataCatalog.from_config({"{stage}.checkpoint": entry})
    assert not catalog.exists("student.checkpoint")
    catalog.save("student.checkpoint", checkpoint)
    assert catalog.exists("student.checkpoint")
    assert (tmp_path / "student" / "model.safetensors").is_file()
    loaded = catalog.load("student.checkpoint")
    assert loaded.header() == checkpoint.header()
    assert torch.equal(loaded.weights["conv1.weight"], checkpoint.weights["conv1.weight"])


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    dataset = CheckpointDataset(str(tmp_path / "model.safetensors"), metadata={"a": 1})
    assert dataset.metadata == {"a": 1}
    assert "model.safetensors" in str(dataset)
    with pytest.raises(DatasetError, match=r"model\.safetensors isn't there"):
        dataset.load()


def test_kedro_viz_shows_the_network_and_no_weights(checkpoint: Checkpoint, tmp_path: Path) -> None:
    dataset = CheckpointDataset(str(tmp_path / "model.safetensors"))
    dataset.save(checkpoint)
    shown = json.loads(dataset.preview())
    assert (shown["stage"], shown["spec"]["name"]) == ("student", "net")
    assert "conv1.weight" not in dataset.preview()
