"""On the CPU, with buffers that copy as late as they may: what a GPU does is in tests/gpu."""

import gc
import logging
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from model_compression.images import (
    AugmentationParameters,
    Batch,
    Batches,
    ImageSet,
    Normalization,
    read_image_set,
    supply,
    write_image_set,
)
from model_compression.images.supply import (
    AsAsked,
    Resident,
    Streamed,
    choose_supply,
    fits,
    free_memory,
    resident,
)
from model_compression.stored_rows import open_rows

MakeImageSet = Callable[..., ImageSet]
CPU = torch.device("cpu")
GREY = Normalization(mean=(0.4,), std=(0.25,))


class LateBuffer:
    """Copies only when somebody waits for it, and spoils what was used: as bad as a GPU may be."""

    def __init__(self) -> None:
        self.host: np.ndarray | None = None
        self.there: torch.Tensor | None = None
        self.is_needed = False

    def send(self, rows: np.ndarray) -> None:
        assert not self.is_needed, "overwritten before it was used"
        self.host = rows

    def rows(self) -> torch.Tensor:
        assert self.host is not None, "nothing was sent, or it was overwritten"
        self.there, self.host = torch.from_numpy(self.host.copy()), None
        self.is_needed = True
        return self.there

    def used(self) -> None:
        assert self.there is not None
        self.there.fill_(255)
        self.is_needed = False


def batches(image_set: ImageSet, **changes: Any) -> Batches:
    arguments: dict[str, Any] = {"batch_size": 4, "device": "cpu", "shuffle": True} | changes
    return Batches(image_set, GREY, **arguments)


def same(first: list[Batch], second: list[Batch]) -> bool:
    return len(first) == len(second) and all(
        torch.equal(mine, other) if isinstance(mine, torch.Tensor) else mine == other
        for one, two in zip(first, second, strict=True)
        for mine, other in zip(one, two, strict=True)
    )


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes the CPU a device with so much memory of its own."""

    def have(free: int) -> None:
        monkeypatch.setattr(supply, "free_memory", lambda device: free)

    return have


def test_a_set_may_take_its_share_and_no_more() -> None:
    assert fits(50, 100, 0.5)
    assert not fits(51, 100, 0.5)
    assert fits(0, 0, 0.5)


def test_the_cpu_reads_what_is_asked_for(make_image_set: MakeImageSet) -> None:
    assert free_memory(CPU) is None
    assert isinstance(choose_supply(make_image_set(), CPU), AsAsked)
    assert resident(np.zeros((2, 2)), CPU) is None


def test_what_the_allocator_keeps_for_later_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (100, 1000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 500)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 200)
    assert free_memory(torch.device("cuda")) == 400


def test_a_set_stays_on_the_device_if_it_fits_and_is_streamed_otherwise(
    make_image_set: MakeImageSet,
    memory: Callable[[int], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    size = make_image_set(12).images[:].nbytes
    memory(2 * size)
    assert isinstance(choose_supply(make_image_set(12), CPU, 0.5), Resident)
    assert caplog.messages == ["0 MiB of images stay on cpu"]
    assert isinstance(choose_supply(make_image_set(12), CPU, 0.49), Streamed)
    assert "streamed to cpu: resident_share lets a set take 0.49 of its" in caplog.messages[1]
    assert isinstance(choose_supply(make_image_set(12), CPU, 0), Streamed)
    memory(2 * size - 1)
    assert isinstance(choose_supply(make_image_set(12), CPU, 0.5), Streamed)


def test_one_copy_serves_all_who_look_at_a_set_and_goes_with_it(
    make_image_set: MakeImageSet, memory: Callable[[int], None]
) -> None:
    memory(10**9)
    image_set = make_image_set(12)
    first = choose_supply(image_set, CPU)
    assert choose_supply(image_set, CPU) is first
    assert choose_supply(make_image_set(12), CPU) is not first
    assert isinstance(choose_supply(image_set, CPU, 0), Streamed)
    found = weakref.ref(first)
    del first, image_set
    gc.collect()
    assert found() is None


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"augmentation": AugmentationParameters(crop_padding=1, cutout=2), "seed": 3},
        {"shuffle": False},
        {"batch_size": 50},
        {"batch_size": 7, "share": (1, 3)},
        {"shuffle": False, "share": (1, 2)},
        {"channels_last": False},
    ],
)
@pytest.mark.parametrize("share", [0, 1])
def test_batches_are_the_same_whichever_way_they_come(
    make_image_set: MakeImageSet, memory: Callable[[int], None], changes: Any, share: float
) -> None:
    image_set = make_image_set(22)
    expected = list(batches(image_set, **changes).epoch(1))
    memory(10**9)
    found = batches(image_set, resident_share=share, **changes)
    assert same(list(found.epoch(1)), expected)
    assert isinstance(found._supply, Resident if share else Streamed)


@pytest.mark.parametrize(
    "changes", [{}, {"shuffle": False}, {"batch_size": 22}, {"channels_last": False}]
)
def test_no_buffer_is_overwritten_before_its_batch_was_used(
    make_image_set: MakeImageSet, changes: Any
) -> None:
    image_set = make_image_set(22)
    asked = []

    def late(count: int, shape: tuple[int, ...]) -> list[LateBuffer]:
        asked.append((count, shape))
        return [LateBuffer() for _ in range(count)]

    found = batches(image_set, **changes)
    found._supply = Streamed(image_set, torch.from_numpy(image_set.labels), late)
    expected = batches(image_set, **changes)
    # Kept until the end, when all buffers are spoilt.
    assert same(list(found.epoch(0)), list(expected.epoch(0)))
    assert asked == [(2, (found.batch_size, *image_set.image_shape))]
    # Two at once, and one that was left halfway.
    next(found.epoch(1))
    pairs = list(zip(found.epoch(1), found.epoch(2), strict=True))
    assert same([first for first, _ in pairs], list(expected.epoch(1)))
    assert same([second for _, second in pairs], list(expected.epoch(2)))


def test_the_next_batch_is_under_way_while_one_is_used(make_image_set: MakeImageSet) -> None:
    image_set = make_image_set(12)
    sent: list[int] = []

    class Counting(LateBuffer):
        def send(self, rows: np.ndarray) -> None:
            super().send(rows)
            sent.append(len(rows))

    found = batches(image_set)
    found._supply = Streamed(
        image_set,
        torch.from_numpy(image_set.labels),
        lambda count, shape: [Counting() for _ in range(count)],
    )
    assert [len(sent) for _ in found.epoch(0)] == [2, 3, 3]


def test_rows_of_files_are_brought_in_parts(
    tmp_path: Any,
    make_image_set: MakeImageSet,
    memory: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image_set = make_image_set(30)
    memory(10**9)
    monkeypatch.setattr(supply, "_CHUNK_BYTES", 5 * image_set.images[:1].nbytes)
    write_image_set(image_set, tmp_path)
    answers = np.arange(21, dtype=np.float16).reshape(7, 3)
    np.save(tmp_path / "answers.npy", answers)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = resident(read_image_set(tmp_path).subset([5, 28, 3]).images, CPU)
        of_file = [resident(open_rows(tmp_path / "answers.npy", size), CPU) for size in (0, 10**6)]
        choose_supply(read_image_set(tmp_path), CPU)
    assert found is not None
    np.testing.assert_array_equal(found, image_set.images[[5, 28, 3]])
    for rows in of_file:
        assert rows is not None
        assert rows.dtype == torch.float16
        np.testing.assert_array_equal(rows, answers)
