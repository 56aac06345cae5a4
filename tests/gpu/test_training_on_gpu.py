import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from model_compression.distillation import AnswerShelf, FrozenTeacher, RememberingTeacher
from model_compression.evaluation import score
from model_compression.images import AugmentationParameters, Batches, Normalization
from model_compression.models import Checkpoint, ModelSpec, build_model
from model_compression.training import (
    CrossEntropy,
    Trainee,
    TrainingSettings,
    fit,
    loop,
    read_training_state,
    write_training_state,
)
from model_compression.training.execution import Execution
from model_compression.training.hardware import exact_float32
from model_compression.training.progress import TrainingProgress
from model_compression.training.tuning import Choices, Sample, tune

SPEC = ModelSpec(name="resnet8", options={"width": 4}, input_shape=(1, 12, 12), classes=3)
START = Checkpoint(
    spec=SPEC,
    weights={},
    stage="teacher",
    fingerprint="f",
    classes=("top", "middle", "bottom"),
    normalization=Normalization(mean=(0.4,), std=(0.25,)),
)
ADAMW = {"name": "adamw", "learning_rate": 0.01}


def settings(**changes: Any) -> TrainingSettings:
    values = {
        "epochs": 3,
        "batch_size": 16,
        "optimizer": {"name": "sgd", "learning_rate": 0.02},
        "schedule": {"name": "warmup_cosine", "warmup_epochs": 1},
        "precision": "float32",
        "augmentation": {"cutout": 3},
        "device": "cuda",
    }
    return TrainingSettings.model_validate(values | changes)


def prepare() -> Trainee:
    torch.manual_seed(0)
    return Trainee(build_model(SPEC), CrossEntropy())


def train(images, resume=None, **changes: Any):
    return fit(prepare, START, images, images, settings(**changes), resume)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": ADAMW, "channels_last": False},
        {"ema_decay": 0.8, "gradient_clip": 1.0, "resident_share": 0},
    ],
)
def test_the_history_is_that_of_the_cpu(tiny_images, changes):
    *_, here = train(tiny_images, device="cpu", **changes)
    *_, there = train(tiny_images, **changes)
    for mine, other in zip(there.history, here.history, strict=True):
        assert mine["learning_rate"] == other["learning_rate"]
        for name in ("train_loss", "validation_loss"):
            assert mine[name] == pytest.approx(other[name], rel=0.02, abs=0.01)
        for name in ("train_accuracy", "validation_accuracy"):
            assert mine[name] == pytest.approx(other[name], abs=0.04)


def test_auto_trains_on_the_gpu(tiny_images, caplog):
    with caplog.at_level("INFO"):
        next(train(tiny_images, device="auto"))
    assert "epochs on cuda in" in caplog.text


@pytest.mark.parametrize(
    "changes",
    [
        {"precision": "bfloat16"},
        {"precision": "bfloat16", "channels_last": False, "optimizer": ADAMW},
        {"compile": True},
        {"compile": True, "precision": "bfloat16", "ema_decay": 0.8},
    ],
)
def test_every_way_of_computing_learns(tiny_images, changes):
    *_, last = train(tiny_images, epochs=12, batch_size=8, **changes)
    assert last.history[-1]["train_loss"] < 0.7 * last.history[0]["train_loss"]
    assert last.history[-1]["validation_accuracy"] > 0.8
    assert all(value.device.type == "cpu" for value in last.weights.values())


@pytest.mark.parametrize("changes", [{}, {"optimizer": ADAMW, "ema_decay": 0.8}])
@pytest.mark.parametrize("first", ["cuda", "cpu"])
def test_a_training_goes_on_after_it_was_cut_off_also_on_another_device(
    tiny_images, tmp_path, changes, first
):
    *_, whole = train(tiny_images, **changes)
    cut_off = train(tiny_images, device=first, **changes)
    write_training_state(next(cut_off), tmp_path / "state.safetensors")
    cut_off.close()
    state = read_training_state(tmp_path / "state.safetensors")
    *_, resumed = train(tiny_images, state, **changes)
    assert resumed.optimizer["param_groups"][0]["fused"] is True
    for mine, other in zip(resumed.history, whole.history, strict=True):
        assert mine["train_loss"] == pytest.approx(other["train_loss"], rel=0.02, abs=0.01)
    finished = replace(resumed, finished=False, epoch=2, history=resumed.history[:2])
    *_, here = train(tiny_images, finished, device="cpu", **changes)
    assert here.finished


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_size": 1},
        {"resident_share": 0, "gradient_clip": 1.0, "ema_decay": 0.8},
        {"precision": "bfloat16", "optimizer": ADAMW},
    ],
)
def test_no_step_of_an_epoch_makes_the_host_wait(tiny_images, no_waiting, changes):
    training = loop._Fit(
        prepare(), START, tiny_images, tiny_images, settings(**changes), None, None
    )
    progress = TrainingProgress("teacher", 1, None, 1)
    training._train(0, progress)
    with no_waiting():
        loss, accuracy = training._train(1, progress)
    assert 0 < loss < 5
    assert 0 <= accuracy <= 1


def test_a_diverging_training_stops(tiny_images):
    with pytest.raises(loop.TrainingDivergedError, match="in epoch"):
        list(train(tiny_images, optimizer={"name": "sgd", "learning_rate": 1e12}, epochs=4))


@pytest.mark.parametrize("share", [0, 1.0])
def test_stored_answers_are_those_of_the_teacher(tiny_images, tmp_path, no_waiting, share):
    teacher = FrozenTeacher(build_model(SPEC), SPEC.input_shape, 3, "float32")
    augmentation = AugmentationParameters(views=2)
    options = {"augmentation": augmentation, "device": "cuda", "resident_share": share}
    whole = Batches(tiny_images, START.normalization, batch_size=50, shuffle=False, **options)
    remembering = RememberingTeacher(teacher, AnswerShelf(tmp_path), "key", whole)
    batches = Batches(tiny_images, START.normalization, batch_size=16, shuffle=True, **options)
    with exact_float32():
        for batch in batches.epoch(0):
            torch.testing.assert_close(
                remembering.logits(batch), teacher.logits(batch), rtol=2e-3, atol=2e-3
            )
    with no_waiting():
        for batch in batches.epoch(2):
            remembering.logits(batch)


def test_evaluation_on_the_gpu_is_that_on_the_cpu(tiny_images):
    network = build_model(SPEC)
    found = []
    for device in ("cpu", "cuda"):
        batches = Batches(
            tiny_images, START.normalization, batch_size=40, device=device, shuffle=False
        )
        with exact_float32():
            found.append(score(copy.deepcopy(network).to(device), batches))
    assert found[1].loss == pytest.approx(found[0].loss, rel=1e-4)
    assert found[1].accuracy == pytest.approx(found[0].accuracy, abs=0.011)


def test_float32_is_not_rounded_to_tf32(cuda):
    layer = nn.Conv2d(64, 64, 3, bias=False).to(cuda)
    images = torch.randn(8, 64, 32, 32, device=cuda)
    exact = copy.deepcopy(layer).double()(images.double())
    with exact_float32():
        error = (layer(images) - exact).abs().max() / exact.abs().max()
    assert error < 1e-5


def test_ways_are_timed_on_the_gpu(tiny_images, cuda, monkeypatch, tmp_path):
    monkeypatch.setenv("MODEL_COMPRESSION_CACHE", str(tmp_path))
    images = torch.randn(32, 1, 12, 12, device=cuda)
    labels = torch.arange(32, device=cuda) % 3
    found = tune(Sample(build_model(SPEC).to(cuda), images, labels), Choices(), 2000)
    assert isinstance(found, Execution)
    assert not found.compiled
    assert (tmp_path / "executions.json").exists()
