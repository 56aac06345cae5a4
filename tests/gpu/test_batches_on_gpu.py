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
    augment,
    supply,
)
from model_compression.images.randomness import random_bits
from model_compression.images.supply import Resident, Streamed, choose_supply, free_memory

COLOUR = Normalization(mean=(0.4, 0.5, 0.6), std=(0.25, 0.2, 0.3))
VARIED = AugmentationParameters(crop_padding=4, cutout=6)


@pytest.fixture
def images() -> ImageSet:
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (1000, 3, 32, 32), dtype=np.uint8)
    return ImageSet(pixels, generator.integers(0, 10, 1000), tuple("abcdefghij"), "random")


def batches(images: ImageSet, device: torch.device | str, **changes: Any) -> Batches:
    arguments = {"batch_size": 96, "augmentation": VARIED, "shuffle": True, "seed": 3} | changes
    return Batches(images, COLOUR, device=device, **arguments)


def same(first: list[Batch], second: list[Batch]) -> bool:
    return len(first) == len(second) and all(
        torch.equal(mine.cpu(), other.cpu())
        for one, two in zip(first, second, strict=True)
        for mine, other in zip(one[:3], two[:3], strict=True)
    )


def test_random_bits_are_those_of_the_cpu(cuda):
    counters = torch.arange(10_000)
    there = random_bits(7, 2**63 + 5, counters.to(cuda))
    assert torch.equal(there.cpu(), random_bits(7, 2**63 + 5, counters))


def test_augmented_bytes_are_those_of_the_cpu(images, cuda):
    pixels, indices = torch.from_numpy(images.images[:]), torch.arange(1000)
    here = augment(pixels, indices, seed=1, epoch=2, parameters=VARIED, fill=7)
    there = augment(pixels.to(cuda), indices.to(cuda), seed=1, epoch=2, parameters=VARIED, fill=7)
    assert torch.equal(there.cpu(), here)


@pytest.mark.parametrize(
    "changes",
    [{}, {"shuffle": False}, {"augmentation": None, "channels_last": False}, {"share": (1, 3)}],
)
def test_resident_and_streamed_batches_are_identical_and_those_of_the_cpu(images, cuda, changes):
    resident, streamed = (
        batches(images, cuda, resident_share=share, **changes) for share in (1.0, 0)
    )
    here = batches(images, "cpu", **changes)
    for epoch in range(2):
        expected = list(resident.epoch(epoch))
        assert same(expected, list(streamed.epoch(epoch)))
        for mine, other in zip(expected, here.epoch(epoch), strict=True):
            assert mine.images.device == cuda
            assert torch.equal(mine.indices.cpu(), other.indices)
            assert torch.equal(mine.labels.cpu(), other.labels)
            # A multiplication and an addition may be one there, which rounds once.
            torch.testing.assert_close(mine.images.cpu(), other.images, rtol=1e-5, atol=1e-6)
            layout = (
                torch.contiguous_format
                if changes.get("channels_last") is False
                else (torch.channels_last)
            )
            assert mine.images.is_contiguous(memory_format=layout)
    assert isinstance(resident._supply, Resident)
    assert isinstance(streamed._supply, Streamed)


def test_streamed_batches_are_right_while_the_device_lags_behind(images, cuda):
    """The device is kept busy, so that every copy and every use comes as late as it may."""
    work = torch.randn(4096, 4096, device=cuda)
    found = []
    for batch in batches(images, cuda, resident_share=0, augmentation=None).epoch(0):
        for _ in range(20):
            work = (work @ work).tanh()
        found.append(batch._replace(images=batch.images + 0 * work[0, 0].nan_to_num()))
    assert same(found, list(batches(images, cuda, resident_share=1.0, augmentation=None).epoch(0)))


def test_two_epochs_at_once_and_one_that_was_left_do_not_mix(images, cuda):
    found = batches(images, cuda, resident_share=0)
    next(found.epoch(0))
    pairs = list(zip(found.epoch(1), found.epoch(2), strict=True))
    resident = batches(images, cuda, resident_share=1.0)
    assert same([first for first, _ in pairs], list(resident.epoch(1)))
    assert same([second for _, second in pairs], list(resident.epoch(2)))


@pytest.mark.parametrize("share", [0, 1.0])
def test_no_batch_makes_the_host_wait(images, cuda, no_waiting, share):
    found = batches(images, cuda, resident_share=share)
    next(found.epoch(0))
    with no_waiting():
        count = sum(1 for _ in found.epoch(1))
    assert count == len(found)


def test_a_set_that_does_not_fit_is_streamed(images, cuda, monkeypatch):
    assert isinstance(choose_supply(images, cuda), Resident)
    other = ImageSet(images.images, images.labels, images.classes, "other")
    monkeypatch.setattr(supply, "free_memory", lambda device: images.images[:].nbytes)
    assert isinstance(choose_supply(other, cuda), Streamed)


def test_free_memory_counts_what_the_allocator_has_to_spare(cuda):
    torch.cuda.empty_cache()
    before = free_memory(cuda)
    room = torch.empty(2**28, dtype=torch.uint8, device=cuda)
    assert before - free_memory(cuda) >= 2**28
    del room
    assert abs(before - free_memory(cuda)) < 2**26
