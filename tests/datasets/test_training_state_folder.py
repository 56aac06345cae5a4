from dataclasses import replace

import pytest
import torch
from kedro.io import DataCatalog

from model_compression.datasets import TrainingStateFolderDataset
from model_compression.models import Checkpoint, ModelSpec, TensorFileError
from model_compression.training import TrainingState


@pytest.fixture
def state(tiny_normalization) -> TrainingState:
    weights = {"weight": torch.arange(2.0)}
    best = Checkpoint(
        spec=ModelSpec(name="net", input_shape=(1, 28, 28), classes=2),
        weights=weights,
        stage="student",
        fingerprint="f",
        classes=("a", "b"),
        normalization=tiny_normalization,
    )
    return TrainingState(
        best=best,
        epoch=1,
        finished=False,
        weights=weights,
        averaged={},
        objective={},
        optimizer={"state": {}, "param_groups": []},
        history=[{"epoch": 1}],
    )


def test_the_catalog_saves_states_by_name_and_reads_each_when_it_is_asked_for(state, tmp_path):
    entry = {
        "type": "model_compression.datasets.TrainingStateFolderDataset",
        "filepath": str(tmp_path / "folder"),
        "metadata": {"a": 1},
    }
    catalog = DataCatalog.from_config({"ablation.training_states": entry})
    known = catalog.load("ablation.training_states")
    assert list(known) == []
    catalog.save("ablation.training_states", {"plain4-seed0": state})
    assert known["plain4-seed0"].history == [{"epoch": 1}]
    assert known["plain4-seed0"].best.weights["weight"].equal(torch.arange(2.0))
    assert not catalog.exists("ablation.training_states")
    assert catalog["ablation.training_states"].metadata == {"a": 1}


def test_a_state_without_its_ballast_keeps_its_best_network(state, tmp_path):
    dataset = TrainingStateFolderDataset(str(tmp_path))
    dataset.save({"a": replace(state, finished=True, weights={})})
    loaded = dataset.load()["a"]
    assert loaded.finished
    assert loaded.weights == {}
    assert loaded.best.weights["weight"].equal(torch.arange(2.0))


def test_a_damaged_state_is_named_and_the_others_are_there(state, tmp_path):
    dataset = TrainingStateFolderDataset(str(tmp_path))
    dataset.save({"good": state})
    (tmp_path / "bad.safetensors").write_bytes(b"no state")
    assert dataset.load()["good"].epoch == 1
    with pytest.raises(TensorFileError, match=r"bad\.safetensors"):
        dataset.load()["bad"]
