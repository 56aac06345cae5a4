import copy
import json
import logging
from dataclasses import asdict, replace

import pytest
import torch
from torch import nn

from model_compression.models import ModelSpec, build_model
from model_compression.training import tuning
from model_compression.training.execution import Execution
from model_compression.training.tuning import (
    CACHE_VARIABLE,
    Choices,
    Finding,
    Memory,
    Sample,
    tune,
)

CPU = torch.device("cpu")
USUAL = Execution("float32", channels_last=True, compiled=False, threads=4)
MANY = 10_000
FIXED = Choices("float32", channels_last=True, compile=False, threads=1)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def sample() -> Sample:
    torch.manual_seed(0)
    spec = ModelSpec(name="resnet8", options={"width": 8}, input_shape=(1, 12, 12), classes=3)
    return Sample(build_model(spec), torch.randn(4, 1, 12, 12), torch.tensor([0, 1, 2, 0]))


@pytest.fixture
def paces(monkeypatch):
    """Decides how long a step takes in each way, and notes which ways were timed."""
    seconds: dict[tuple[bool, bool, int], float] = {}
    asked: list[Execution] = []

    def step(self: Sample, way: Execution):
        asked.append(way)
        key = (way.channels_last, way.compiled, way.threads)
        return lambda: seconds.get(key, 1.0) * (1.5 if way.precision == "float32" else 1.0)

    monkeypatch.setattr(Sample, "step", step)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    seconds_and_ways = (seconds, asked)
    return seconds_and_ways


def test_a_step_leaves_the_network_and_the_random_numbers_as_they_were(sample):
    before = copy.deepcopy(sample.model.state_dict())
    sample.model.eval()
    chance = torch.get_rng_state()
    tune(sample, Choices(), MANY)
    assert all(torch.equal(before[name], now) for name, now in sample.model.state_dict().items())
    assert torch.equal(chance, torch.get_rng_state())
    assert not sample.model.training
    assert all(parameter.grad is None for parameter in sample.model.parameters())


def test_a_step_is_computed_in_the_way_that_it_is_told(monkeypatch):
    seen = {}

    class Spy(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv2d(3, 2, 3)

        def forward(self, images):
            seen["channels_last"] = images.is_contiguous(memory_format=torch.channels_last)
            seen["threads"] = torch.get_num_threads()
            out = self.layer(images)
            seen["dtype"] = out.dtype
            return out.mean((2, 3))

    sample = Sample(Spy(), torch.randn(2, 3, 5, 5), torch.tensor([0, 1]))
    before = torch.get_num_threads()
    seconds = sample.step(Execution("bfloat16", True, False, before + 1))()
    assert seen == {"channels_last": True, "threads": before + 1, "dtype": torch.bfloat16}
    assert seconds > 0
    assert torch.get_num_threads() == before
    sample.step(Execution("float32", False, False, before))()
    assert seen == {"channels_last": False, "threads": before, "dtype": torch.float32}


def test_the_fastest_layout_and_number_of_threads_are_taken(sample, paces):
    seconds, _ = paces
    seconds |= {(False, False, 4): 0.8, (False, False, 2): 0.5, (False, False, 1): 0.6}
    found = tune(sample, Choices(precision="float32"), MANY)
    assert found == Execution("float32", channels_last=False, compiled=False, threads=2)


def test_a_gain_within_the_noise_changes_nothing(sample, paces):
    seconds, _ = paces
    seconds |= {(False, False, 4): 0.97, (True, False, 2): 0.96}
    assert tune(sample, Choices(precision="float32"), MANY) == USUAL


def test_what_is_fixed_is_not_timed_otherwise(sample, paces):
    _, asked = paces
    choices = Choices("float32", channels_last=False, threads=2)
    assert tune(sample, choices, MANY) == Execution("float32", False, False, 2)
    assert {(way.precision, way.channels_last, way.threads) for way in asked} == {
        ("float32", False, 2)
    }


def test_nothing_is_timed_where_all_is_fixed_or_little_is_trained(sample, paces):
    _, asked = paces
    assert tune(sample, FIXED, MANY) == replace(USUAL, threads=1)
    assert tune(sample, Choices("float32"), tuning.WORTH_STEPS - 1) == USUAL
    assert asked == []


def test_bfloat16_is_left_where_float32_is_faster(sample, paces, monkeypatch):
    native = lambda name, device: torch.bfloat16 if name == "auto" else torch.float32  # noqa: E731
    monkeypatch.setattr(tuning, "resolve_precision", native)
    assert tune(sample, Choices(), MANY).precision == "bfloat16"
    monkeypatch.setattr(
        Sample, "step", lambda self, way: lambda: 1.0 if way.precision == "float32" else 2.0
    )
    other = replace(sample, images=torch.randn(6, 1, 12, 12))
    assert tune(other, Choices(), MANY).precision == "float32"


@pytest.mark.parametrize(("steps", "expected"), [(1000, False), (4000, True)])
def test_compiling_is_tried_where_a_training_is_long(sample, paces, steps, expected):
    seconds, asked = paces
    seconds |= {(True, True, 4): 0.5}
    assert tune(sample, Choices("float32"), steps).compiled is expected
    assert any(way.compiled for way in asked) is expected


@pytest.fixture
def slow_compiler(paces, monkeypatch) -> list[Execution]:
    """Compiling takes 5000 s and saves 0.5 s a step; what was timed."""
    plain = Sample.step
    _, asked = paces

    def step(self: Sample, way: Execution):
        timed = plain(self, way)
        first = iter([5000.0] if way.compiled else [])
        return lambda: next(first, 1.0 if way.compiled else timed())

    monkeypatch.setattr(Sample, "step", step)
    return asked


def test_compiling_must_pay_for_itself(sample, slow_compiler, folder):
    assert not tune(sample, Choices("float32"), MANY - 1).compiled
    (folder / "executions.json").unlink()
    assert tune(sample, Choices("float32"), MANY + 1).compiled


def test_a_short_training_does_not_decide_for_a_long_one_nor_the_other_way_round(
    sample, slow_compiler
):
    choices = Choices("float32")
    assert tune(sample, choices, tuning.WORTH_STEPS) == USUAL
    assert not any(way.compiled for way in slow_compiler)  # 1,000 steps of 1.5 s are too few
    assert tune(sample, choices, 2 * MANY) == replace(USUAL, compiled=True)
    timed = len(slow_compiler)
    assert tune(sample, choices, tuning.WORTH_STEPS) == USUAL
    assert tune(sample, choices, MANY - 1) == USUAL
    assert tune(sample, choices, 2 * MANY).compiled
    assert len(slow_compiler) == timed


def test_a_network_that_is_looked_into_is_not_compiled(sample, paces):
    seconds, asked = paces
    seconds |= {(True, True, 4): 0.1}
    assert not tune(sample, Choices("float32"), MANY, compilable=False).compiled
    assert not any(way.compiled for way in asked)


def test_what_was_found_is_remembered_for_this_network_and_batch(sample, paces, caplog):
    seconds, asked = paces
    seconds |= {(False, False, 4): 0.5}
    with caplog.at_level(logging.INFO):
        found = tune(sample, Choices("float32"), MANY)
    assert json.dumps(found.as_settings()) in caplog.text
    timed = len(asked)
    seconds |= {(False, False, 4): 3.0}
    with caplog.at_level(logging.INFO):
        assert tune(sample, Choices("float32"), MANY) == found
    assert len(asked) == timed
    assert "fastest way before" in caplog.text
    strided = copy.deepcopy(sample)
    strided.model.stem.stride = (2, 2)  # of the very same names and shapes
    assert tune(strided, Choices("float32"), MANY) == USUAL
    larger = replace(sample, images=torch.randn(5, 1, 12, 12), labels=torch.tensor([0] * 5))
    assert tune(larger, Choices("float32"), MANY) == USUAL


FOUND = Finding(USUAL, seconds=0.2, compiled_seconds=0.1, start_seconds=30.0)


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"key": {"execution": {"speed": 3}}}',
        '{"key": {"execution": {"precision": "float32", "channels_last": true, "compiled": false, '
        '"threads": 1}}}',
        json.dumps({"key": asdict(FOUND) | {"execution": asdict(USUAL) | {"precision": "int8"}}}),
    ],
)
def test_a_damaged_memory_is_passed_over_and_written_anew(tmp_path, content):
    memory = Memory(tmp_path / "executions.json")
    memory.path.write_text(content)
    assert memory.find("key") is None
    memory.keep("key", FOUND)
    assert memory.find("key") == FOUND
    assert memory.find("another") is None


def test_a_memory_that_cannot_be_written_costs_no_training(tmp_path, caplog):
    (tmp_path / "file").touch()
    memory = Memory(tmp_path / "file" / "executions.json")
    memory.keep("key", FOUND)
    assert "can't be written" in caplog.text


def test_choices_allow_a_way_that_has_all_that_is_fixed():
    assert Choices().allow(USUAL)
    assert Choices("float32", True, False, 4).allow(USUAL)
    assert not Choices("bfloat16").allow(USUAL)
    assert not Choices(threads=2).allow(USUAL)
