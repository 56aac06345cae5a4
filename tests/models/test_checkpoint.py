from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model_compression.images import Normalization
from model_compression.models import (
    Checkpoint,
    CheckpointError,
    ModelSettings,
    TensorFileError,
    WeightsError,
    build_model,
    read_checkpoint,
    read_tensor_file,
    write_checkpoint,
    write_tensor_file,
)

SPEC = ModelSettings(name="resnet8", options={"width": 4}).spec((1, 12, 12), 3)


@pytest.fixture
def checkpoint() -> Checkpoint:
    return Checkpoint(
        spec=SPEC,
        weights=dict(build_model(SPEC).state_dict()),
        stage="teacher",
        fingerprint="f" * 32,
        classes=("a", "b", "ü"),
        normalization=Normalization(mean=(1 / 3,), std=(0.1,)),
        details={"training_seconds": 1.5, "best_epoch": 3, "quantization": {"bits": 8}},
    )


def test_a_checkpoint_comes_back_whole(checkpoint: Checkpoint, tmp_path: Path) -> None:
    write_checkpoint(checkpoint, tmp_path / "model.safetensors")
    read = read_checkpoint(tmp_path / "model.safetensors")
    assert read.header() == checkpoint.header()
    for name in ("spec", "stage", "fingerprint", "classes", "normalization", "graph", "details"):
        assert getattr(read, name) == getattr(checkpoint, name)
    images = torch.randn(2, 1, 12, 12)
    assert torch.equal(read.build()(images), checkpoint.build()(images))


def test_a_built_network_is_ready_for_inference(checkpoint: Checkpoint) -> None:
    model = checkpoint.build()
    assert not any(module.training for module in model.modules())
    weights = model.state_dict()
    assert all(torch.equal(weights[name], w) for name, w in checkpoint.weights.items())


def test_a_checkpoint_without_weights_can_be_made_and_filled(checkpoint: Checkpoint) -> None:
    empty = replace(checkpoint, weights={})
    with pytest.raises(WeightsError, match=r"missing: stem\.weight"):
        empty.build()
    assert replace(empty, weights=checkpoint.weights).build()


def test_a_graph_for_quantization_is_kept_but_not_built(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    prepared = replace(checkpoint, graph="qat", weights={"observer.scale": torch.ones(1)})
    write_checkpoint(prepared, tmp_path / "file")
    read = read_checkpoint(tmp_path / "file")
    assert read.graph == "qat"
    assert torch.equal(read.weights["observer.scale"], torch.ones(1))
    with pytest.raises(CheckpointError, match=r"use quantization\.load_quantized"):
        read.build()


def test_as_many_class_names_as_classes_are_needed(checkpoint: Checkpoint) -> None:
    with pytest.raises(CheckpointError, match="3 classes needs as many class names, not 2"):
        replace(checkpoint, classes=("a", "b"))


def test_a_mean_for_every_channel_is_needed(checkpoint: Checkpoint) -> None:
    with pytest.raises(CheckpointError, match="1 channels needs a normalization of as many, not 3"):
        replace(checkpoint, normalization=Normalization(mean=(0.0,) * 3, std=(1.0,) * 3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 2}, "expected a checkpoint of format version 1.* version 2"),
        ({"format": "training_state"}, "this is format 'training_state'"),
        ({"graph": "int4"}, "header is damaged"),
        ({"later": 1}, "header is damaged"),
        ({"classes": ["a"]}, "3 classes needs"),
        ({"spec": SPEC.model_dump(mode="json") | {"name": "net", "options": {}}}, "of a 'net'"),
        ({"spec": SPEC.model_dump(mode="json") | {"name": "no_net"}}, "no model 'no_net'"),
        ({"spec": SPEC.model_dump(mode="json") | {"options": {"x": 1}}}, "can't be built"),
    ],
)
def test_a_file_that_contradicts_itself_is_named(
    checkpoint: Checkpoint, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    path = tmp_path / "model.safetensors"
    write_checkpoint(checkpoint, path)
    weights, header = read_tensor_file(path)
    write_tensor_file(path, weights, header | change)
    with pytest.raises(CheckpointError, match=f"(?s)^.*model.safetensors: .*{message}"):
        read_checkpoint(path)


def test_a_truncated_checkpoint_is_named(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_checkpoint(checkpoint, path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(TensorFileError, match=r"model\.safetensors is truncated"):
        read_checkpoint(path)


def test_any_tensor_file_is_not_a_checkpoint(tmp_path: Path) -> None:
    write_tensor_file(tmp_path / "file", {}, {})
    with pytest.raises(CheckpointError, match="this is format None, version None"):
        read_checkpoint(tmp_path / "file")
