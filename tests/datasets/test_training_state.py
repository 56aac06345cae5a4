from dataclasses import replace

import pytest
import torch
from kedro.io import DatasetError

from model_compression.datasets import TrainingStateDataset
from model_compression.models import Checkpoint, ModelSpec
from model_compression.training import TrainingState


@pytest.fixture
def state(tiny_normalization) -> TrainingState:
    weights = {"weight": torch.ones(2)}
    best = Checkpoint(
        spec=ModelSpec(name="net", input_shape=(1, 28, 28), classes=2),
        weights=weights,
        stage="teacher",
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
        history=[],
    )


def test_state_exists_only_once_it_is_finished(state, tmp_path):
    dataset = TrainingStateDataset(str(tmp_path / "state.safetensors"))
    assert not dataset.exists()
    dataset.save(state)
    assert not dataset.exists()
    dataset.save(replace(state, finished=True))
    assert dataset.exists()


def test_optional_state_is_none_where_there_is_no_file(state, tmp_path):
    path = str(tmp_path / "state.safetensors")
    optional = TrainingStateDataset(path, optional=True)
    assert optional.load() is None
    TrainingStateDataset(path).save(state)
    loaded = optional.load()
    assert loaded is not None
    assert loaded.epoch == 1


def test_required_state_without_a_file_is_an_error_that_names_it(tmp_path):
    with pytest.raises(DatasetError, match=r"state\.safetensors"):
        TrainingStateDataset(str(tmp_path / "state.safetensors")).load()


def test_damaged_state_is_refused_even_where_it_is_optional(tmp_path):
    path = tmp_path / "state.safetensors"
    path.write_bytes(b"no state")
    with pytest.raises(DatasetError, match=r"state\.safetensors"):
        TrainingStateDataset(str(path), optional=True).load()
