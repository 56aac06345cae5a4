import pytest
import torch

from model_compression.models import Checkpoint, ModelSpec, TensorFileError, write_checkpoint
from model_compression.training import TrainingState, read_training_state, write_training_state


@pytest.fixture
def state(tiny_normalization) -> TrainingState:
    spec = ModelSpec(name="net", input_shape=(1, 28, 28), classes=2)
    weights = {"layer.weight": torch.randn(3, 2), "layer.count": torch.tensor(7)}
    best = Checkpoint(
        spec=spec,
        weights=weights,
        stage="student",
        fingerprint="abc",
        classes=("a", "b"),
        normalization=tiny_normalization,
        details={"best_epoch": 1},
    )
    return TrainingState(
        best=best,
        epoch=2,
        finished=False,
        weights={name: value + 1 for name, value in weights.items()},
        averaged={},
        objective={"projection": torch.ones(2)},
        optimizer={
            "state": {0: {"momentum_buffer": torch.randn(3, 2)}, 1: {"momentum_buffer": None}},
            "param_groups": [{"lr": 0.1, "params": [0, 1]}],
        },
        history=[{"epoch": 1, "train_loss": 0.5}, {"epoch": 2, "train_loss": 0.25}],
    )


def test_state_comes_back_as_it_was(state, tmp_path):
    path = tmp_path / "state.safetensors"
    write_training_state(state, path)
    read = read_training_state(path)
    assert (read.epoch, read.finished, read.history) == (2, False, state.history)
    assert read.fingerprint == "abc"
    assert read.best.header() == state.best.header()
    for stored, original in [
        (read.weights, state.weights),
        (read.best.weights, state.best.weights),
        (read.objective, state.objective),
        (read.optimizer["state"][0], state.optimizer["state"][0]),
    ]:
        assert stored.keys() == original.keys()
        assert all(torch.equal(stored[name], original[name]) for name in original)
    assert read.optimizer["param_groups"] == state.optimizer["param_groups"]


@pytest.mark.parametrize("damage", ["truncate", "alter"])
def test_damaged_state_is_refused_by_name(state, tmp_path, damage):
    path = tmp_path / "state.safetensors"
    write_training_state(state, path)
    content = bytearray(path.read_bytes())
    if damage == "truncate":
        content = content[: len(content) // 2]
    else:
        content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(TensorFileError, match=r"state\.safetensors"):
        read_training_state(path)


def test_checkpoint_is_not_taken_for_a_state(state, tmp_path):
    path = tmp_path / "model.safetensors"
    write_checkpoint(state.best, path)
    with pytest.raises(TensorFileError, match="not a training state"):
        read_training_state(path)
