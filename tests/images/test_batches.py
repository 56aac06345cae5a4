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
    augment,
    read_image_set,
    write_image_set,
)

MakeImageSet = Callable[..., ImageSet]
GREY = Normalization(mean=(0.4,), std=(0.25,))


def batches(image_set: ImageSet, **changes: Any) -> Batches:
    arguments: dict[str, Any] = {"batch_size": 4, "device": "cpu", "shuffle": True} | changes
    return Batches(image_set, GREY, **arguments)


def seen(epoch: list[Batch]) -> list[int]:
    return [index for batch in epoch for index in batch.indices.tolist()]


@pytest.mark.parametrize(
    ("count", "shuffle", "sizes"),
    [
        (12, True, [4, 4, 4]),
        (14, True, [4, 4, 4]),
        (3, True, [3]),
        (12, False, [4, 4, 4]),
        (14, False, [4, 4, 4, 2]),
        (3, False, [3]),
    ],
)
def test_an_incomplete_batch_is_dropped_only_in_training_and_never_the_only_one(
    count: int, shuffle: bool, sizes: list[int], make_image_set: MakeImageSet
) -> None:
    found = batches(make_image_set(count), shuffle=shuffle)
    assert [len(batch.images) for batch in found.epoch(0)] == sizes
    assert len(found) == len(sizes)


def test_unshuffled_batches_give_every_image_in_order(make_image_set: MakeImageSet) -> None:
    assert seen(list(batches(make_image_set(14), shuffle=False).epoch(3))) == list(range(14))


def test_an_epoch_shows_every_image_once_in_its_own_order(make_image_set: MakeImageSet) -> None:
    found = batches(make_image_set(40))
    first, second = (seen(list(found.epoch(epoch))) for epoch in (0, 1))
    assert sorted(first) == sorted(second) == list(range(40))
    assert first != second
    assert seen(list(batches(make_image_set(40), seed=1).epoch(0))) != first


def test_an_epoch_can_be_had_again_bit_for_bit_in_any_order(make_image_set: MakeImageSet) -> None:
    def fresh() -> Batches:
        return batches(make_image_set(40), augmentation=AugmentationParameters(), seed=5)

    third = list(fresh().epoch(2))
    again = fresh()
    list(again.epoch(0))
    for before, after in zip(third, again.epoch(2), strict=True):
        assert torch.equal(before.images, after.images)
        assert torch.equal(before.labels, after.labels)
        assert before.epoch == after.epoch == 2


def test_images_labels_and_indices_belong_together(make_image_set: MakeImageSet) -> None:
    image_set = make_image_set(20)
    everything = GREY.apply(torch.from_numpy(image_set.images[:]))
    for batch in batches(image_set).epoch(1):
        assert torch.equal(batch.images, everything[batch.indices])
        np.testing.assert_array_equal(batch.labels, image_set.labels[batch.indices])
        assert batch.labels.dtype == batch.indices.dtype == torch.int64
        assert batch.images.dtype == torch.float32


def test_augmented_images_are_those_of_the_pure_function(make_image_set: MakeImageSet) -> None:
    image_set = make_image_set(20, (1, 8, 8))
    parameters = AugmentationParameters(cutout=2)
    views = augment(
        torch.from_numpy(image_set.images[:]),
        torch.arange(20),
        seed=9,
        epoch=4,
        parameters=parameters,
    )
    for batch in batches(image_set, augmentation=parameters, seed=9).epoch(4):
        assert torch.equal(batch.images, GREY.apply(views[batch.indices]))


@pytest.mark.parametrize("channels_last", [True, False])
def test_the_memory_format_is_the_one_asked_for(
    channels_last: bool, make_image_set: MakeImageSet
) -> None:
    colour = Normalization(mean=(0.5,) * 3, std=(0.2,) * 3)
    found = Batches(
        make_image_set(8, (3, 5, 4)),
        colour,
        batch_size=4,
        device="cpu",
        shuffle=True,
        channels_last=channels_last,
        augmentation=AugmentationParameters(),
    )
    images = next(found.epoch(0)).images
    assert images.is_contiguous(memory_format=torch.channels_last) == channels_last
    assert images.is_contiguous() != channels_last


def test_batches_of_a_stored_subset_are_those_of_memory(
    tmp_path: Any, make_image_set: MakeImageSet
) -> None:
    image_set = make_image_set(30)
    write_image_set(image_set, tmp_path)
    chosen = [5, 28, 3, 17]
    stored = next(batches(read_image_set(tmp_path).subset(chosen)).epoch(0))
    made = next(batches(image_set.subset(chosen)).epoch(0))
    assert torch.equal(stored.images, made.images)


def test_a_batch_is_put_on_the_device(make_image_set: MakeImageSet) -> None:
    for tensor in next(batches(make_image_set(), device="meta").epoch(0))[:3]:
        assert tensor.device.type == "meta"


def test_a_batch_size_below_one_is_refused(make_image_set: MakeImageSet) -> None:
    with pytest.raises(ValueError, match="at least 1; got 0"):
        batches(make_image_set(), batch_size=0)


def test_a_normalisation_for_other_channels_is_refused(make_image_set: MakeImageSet) -> None:
    with pytest.raises(ValueError, match="3 channels; the normalisation is for 1"):
        batches(make_image_set(12, (3, 4, 4)))


def test_few_views_come_again_in_turn():
    images = np.random.default_rng(0).integers(0, 256, (8, 1, 6, 6), dtype=np.uint8)
    image_set = ImageSet(images, np.zeros(8, np.int64), ("only",), "f")
    batches = Batches(
        image_set,
        Normalization(mean=(0.5,), std=(0.25,)),
        batch_size=8,
        device="cpu",
        augmentation=AugmentationParameters(views=2),
        shuffle=False,
    )
    first, second, third = (next(batches.epoch(epoch)) for epoch in range(3))
    assert (first.view, second.view, third.view) == (0, 1, 0)
    assert torch.equal(first.images, third.images)
    assert not torch.equal(first.images, second.images)


@pytest.mark.parametrize(("count", "shares"), [(14, 2), (14, 3), (3, 2)])
def test_shares_of_shuffled_batches_make_the_whole_in_order(
    make_image_set: MakeImageSet, count: int, shares: int
) -> None:
    image_set = make_image_set(count=count)
    varied = {"augmentation": AugmentationParameters(), "seed": 3}
    whole = list(batches(image_set, **varied).epoch(1))
    parts = [
        list(batches(image_set, share=(which, shares), **varied).epoch(1))
        for which in range(shares)
    ]
    for together, *shared in zip(whole, *parts, strict=True):
        sizes = [len(part.labels) for part in shared]
        assert max(sizes) - min(sizes) <= 1
        for tensor in range(3):
            joined = torch.cat([part[tensor] for part in shared])
            assert torch.equal(joined, together[tensor])


def test_shares_of_other_batches_are_whole_ones_by_turns(make_image_set: MakeImageSet) -> None:
    image_set = make_image_set(count=10)
    parts = [list(batches(image_set, shuffle=False, share=(which, 2)).epoch(0)) for which in (0, 1)]
    assert seen(parts[0]) == [0, 1, 2, 3, 8, 9]
    assert seen(parts[1]) == [4, 5, 6, 7]
    assert len(batches(image_set, shuffle=False, share=(1, 2))) == 3


def test_more_processes_than_images_in_a_batch_are_refused(make_image_set: MakeImageSet) -> None:
    with pytest.raises(ValueError, match="5 processes can't share a batch of 4"):
        batches(make_image_set(count=10), share=(0, 5))
    with pytest.raises(ValueError, match="can't share a batch of 3"):
        batches(make_image_set(count=3), share=(0, 4))
