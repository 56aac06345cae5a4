from itertools import pairwise
from typing import ClassVar

import numpy as np
import pytest

from model_compression.deployment import latency as latency_file
from model_compression.deployment import measure_latency
from model_compression.deployment.latency import measure_runtimes


class FakeClassifier:
    """Takes the milliseconds that its model's stage says, and notes who was called."""

    calls: ClassVar[list[tuple[str, int]]] = []
    now = 0.0

    def __init__(self, model, threads):
        assert threads == 1
        self.model = model

    def run(self, images):
        self.calls.append((self.model.stage, len(images)))
        FakeClassifier.now += {"student": 0.001, "quantized": 0.02}[self.model.stage]


@pytest.fixture
def models(float_export, int8_export):
    return {"student": float_export.model, "quantized": int8_export.model}


@pytest.fixture
def fake(monkeypatch):
    FakeClassifier.calls = []
    monkeypatch.setattr(latency_file, "OnnxRuntimeClassifier", FakeClassifier)
    monkeypatch.setattr(latency_file.time, "perf_counter", lambda: FakeClassifier.now)
    return FakeClassifier


def test_the_files_take_turns_and_a_short_call_is_repeated(fake, models, images):
    table = measure_latency(models, images[:3], batch_sizes=(4,), repeats=2, warmup=0)
    # Before the turns, one call of each says how often a turn repeats it, and one call a turn is
    # not timed.
    assert fake.calls[:2] == [("student", 4), ("quantized", 4)]
    for start in (2, 2 + 8):
        turns = [stage for stage, _ in fake.calls[start : start + 8]]
        assert sorted(turns) == ["quantized"] * (1 + 1) + ["student"] * (1 + 5)
        assert sum(a != b for a, b in pairwise(turns)) == 1
    assert table["latency_ms"].tolist() == pytest.approx([1, 20, 1, 20])
    assert table["stage"].tolist() == ["student", "quantized"] * 2
    assert table["repeat"].tolist() == [0, 0, 1, 1]


def test_no_file_is_always_timed_after_the_same_one_and_the_orders_are_repeatable(
    fake, models, images
):
    orders = []
    for _ in range(2):
        fake.calls.clear()
        measure_latency(models, images, batch_sizes=(1,), repeats=9, warmup=0)
        orders.append(fake.calls[2:])
    assert orders[0] == orders[1]
    assert {orders[0][start] for start in range(0, len(orders[0]), 8)} == {
        ("student", 1),
        ("quantized", 1),
    }


def test_what_a_turns_first_call_costs_more_is_not_timed(monkeypatch, fake, models, images):
    last = []

    def run(self, images):
        FakeClassifier.now += 0.02 if last == [self.model.stage] else 0.07
        last[:] = [self.model.stage]

    monkeypatch.setattr(FakeClassifier, "run", run)
    table = measure_latency(models, images, batch_sizes=(1,), repeats=9, warmup=0)
    assert table["latency_ms"].tolist() == pytest.approx([20] * 18)


def test_warming_up_is_not_timed(fake, models, images):
    measure_latency(models, images, batch_sizes=(1,), repeats=1, warmup=7)
    assert fake.calls[:9] == [("student", 1)] * 8 + [("quantized", 1)]


def test_the_runtimes_of_a_file_take_turns_too(fake, models, images):
    runtimes = {"first": fake, "second": fake}
    table = measure_runtimes(models, images, runtimes, batch_sizes=(2,), repeats=2, warmup=0)
    assert list(table.columns) == ["stage", "runtime", "batch_size", "repeat", "latency_ms"]
    turns = list(zip(table["stage"], table["runtime"], table["repeat"], strict=True))
    assert turns == [
        (stage, runtime, repeat)
        for repeat in (0, 1)
        for stage in ("student", "quantized")
        for runtime in ("first", "second")
    ]
    assert table["latency_ms"].tolist() == pytest.approx([1, 1, 20, 20] * 2)


def test_no_runtime_is_refused(models, images):
    with pytest.raises(ValueError, match="at least one runtime"):
        measure_runtimes(models, images, {})


def test_real_files_are_timed_at_every_batch_size(models, images):
    table = measure_latency(models, images[:5], batch_sizes=(1, 8), repeats=3, warmup=1)
    assert list(table.columns) == ["stage", "batch_size", "repeat", "latency_ms"]
    assert len(table) == 2 * 2 * 3
    assert (table["latency_ms"] > 0).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": {}}, "at least one file and one image; got 0"),
        ({"images": np.zeros((0, 1, 12, 12), np.uint8)}, "one image; got 2 and 0"),
        ({"images": np.zeros((1, 1, 9, 9), np.uint8)}, "This file takes"),
        ({"batch_sizes": (1, 0)}, "batch sizes and repeats"),
        ({"repeats": 0}, "batch sizes and repeats"),
        ({"warmup": -1}, "warmup of at least 0"),
    ],
)
def test_what_cannot_be_timed_is_refused(models, images, changes: dict, message: str):
    arguments = {"models": models, "images": images[:2], "repeats": 1} | changes
    with pytest.raises(ValueError, match=message):
        measure_latency(**arguments)
