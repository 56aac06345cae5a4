"""Batches of normalised images, in an order that is a pure function of (seed, epoch).

Knows how to feed a network; knows nothing of networks.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from model_compression.images.augmentation import AugmentationParameters, augment
from model_compression.images.image_set import ImageSet
from model_compression.images.normalization import Normalization
from model_compression.images.randomness import random_bits
from model_compression.images.supply import RESIDENT_SHARE, Delivery, Supply, choose_supply


class Batch(NamedTuple):
    """Some images, ready for a network."""

    images: Tensor
    """float32, normalised, shape (n, C, H, W)."""
    labels: Tensor
    """Class numbers, int64, shape (n,)."""
    indices: Tensor
    """Positions in the image set, int64, shape (n,)."""
    epoch: int
    """The epoch that the batch belongs to."""
    view: int = 0
    """Which version of the images it shows: same view and index, same pixels."""
    positions: Tensor | None = None
    """The indices on the CPU, if they are known there: to ask a GPU for them is to wait for it."""


class Batches:
    """The batches of an image set, epoch by epoch.

    Args:
        image_set: Where the images come from.
        normalization: How bytes become numbers.
        batch_size: Images in a batch, at least 1.
        device: Where batches are put; augmentation and normalisation run there too.
        seed: With the epoch, it decides order and augmentation.
        augmentation: How images are varied; None leaves them as they are.
        shuffle: For training: a new order each epoch, and an incomplete last batch is dropped
            unless it is the only one. Otherwise every image comes once, in the set's order.
        channels_last: Lay images out channels-last in memory: CPU convolutions are faster then.
        share: (r, n) is what the r-th of n processes sees, from 0. Of shuffled batches, a part of
            each: n parts make the whole, in order, and differ by one image at most. Of others,
            every n-th batch, whole.
        resident_share: On a GPU, the images stay there if they take no more than this share of the
            memory that is free at the first epoch; otherwise they are streamed. 0: always streamed.
            The batches are the same.

    Raises:
        ValueError: If ``batch_size`` is below 1, or the normalisation is for other channels; or if
            a shuffled batch has no image for each process.
    """

    def __init__(
        self,
        image_set: ImageSet,
        normalization: Normalization,
        *,
        batch_size: int,
        device: torch.device | str,
        seed: int = 0,
        augmentation: AugmentationParameters | None = None,
        shuffle: bool,
        channels_last: bool = True,
        share: tuple[int, int] = (0, 1),
        resident_share: float = RESIDENT_SHARE,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"The batch size must be at least 1; got {batch_size}.")
        if len(normalization.mean) != image_set.image_shape[0]:
            raise ValueError(
                f"The images have {image_set.image_shape[0]} channels; "
                f"the normalisation is for {len(normalization.mean)}."
            )
        self.image_set = image_set
        self.normalization = normalization
        self.batch_size = batch_size
        self.device = torch.device(device)
        self.seed = seed
        self.augmentation = augmentation
        self.shuffle = shuffle
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.share = share
        self.resident_share = resident_share
        self._supply: Supply | None = None
        if shuffle and self.images_a_batch < share[1]:
            raise ValueError(
                f"{share[1]} processes can't share a batch of {self.images_a_batch} images: raise "
                "batch_size, or start fewer processes"
            )

    @property
    def images_a_batch(self) -> int:
        """Of a shuffled batch, over all shares."""
        return min(self.batch_size, len(self.image_set))

    def __len__(self) -> int:
        """The number of batches in an epoch, over all shares."""
        full, rest = divmod(len(self.image_set), self.batch_size)
        if self.shuffle:
            return max(full, 1)
        return full + (rest > 0)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of one epoch; the same number gives the same batches, bit for bit."""
        if self._supply is None:
            self._supply = choose_supply(self.image_set, self.device, self.resident_share)
        order = torch.arange(len(self.image_set))
        if self.shuffle:
            order = random_bits(self.seed, epoch, order).argsort()
        for delivery in self._supply.deliveries(order, self._parts()):
            yield self._batch(delivery, epoch)

    def _parts(self) -> list[slice]:
        """Where in an epoch's order the batches are, or this process's shares of them."""
        which, shares = self.share
        parts = []
        for batch in range(0 if self.shuffle else which, len(self), 1 if self.shuffle else shares):
            start = batch * self.batch_size
            stop = min(start + self.batch_size, len(self.image_set))
            if self.shuffle:
                size, larger = divmod(stop - start, shares)
                start += which * size + min(which, larger)
                stop = start + size + (which < larger)
            parts.append(slice(start, stop))
        return parts

    def _batch(self, delivery: Delivery, epoch: int) -> Batch:
        images, labels, indices, positions = delivery
        view = 0
        if self.augmentation is not None:
            view = self.augmentation.view_of(epoch)
            images = augment(
                images, indices, seed=self.seed, epoch=view, parameters=self.augmentation
            )
        images = images.contiguous(memory_format=self.memory_format)
        # New memory in any case: that of the delivery is used again.
        normalised = self.normalization.apply(images)
        return Batch(normalised, labels, indices, epoch, view, positions)
