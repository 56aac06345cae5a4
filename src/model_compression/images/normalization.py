"""Normalisation of images: per-channel mean and standard deviation.

Knows bytes and numbers; a deployed file and a training batch are normalised by the same two tuples.
"""

import math
from typing import Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from model_compression.images.image_set import ImageSet
from model_compression.images.supply import to_device
from model_compression.parameters import Parameters

_CHUNK_BYTES = 4 * 2**20


class Normalization(Parameters):
    """x ↦ (x / 255 - mean) / std, channel by channel."""

    mean: tuple[float, ...] = Field(min_length=1)
    """Mean of each channel, of images scaled to [0, 1]."""
    std: tuple[float, ...] = Field(min_length=1)
    """Standard deviation of each channel, of images scaled to [0, 1]; above 0."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if len(self.mean) != len(self.std):
            raise ValueError(
                "mean and std must have one value per channel each; "
                f"got {len(self.mean)} and {len(self.std)} values"
            )
        if min(self.std) <= 0:
            raise ValueError(f"std must be above 0 in every channel; got {self.std}")
        return self

    def apply(self, images: Tensor) -> Tensor:
        """Normalises a batch.

        Args:
            images: uint8, shape (N, C, H, W).

        Returns:
            A new float32 tensor of the same shape, device and memory format.

        Raises:
            ValueError: If ``images`` is not uint8 or has another number of channels.
        """
        channels = len(self.mean)
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != channels:
            raise ValueError(
                f"Expected uint8 images of shape (N, {channels}, H, W); "
                f"got {images.dtype} of shape {tuple(images.shape)}."
            )
        scale = [1 / (255 * std) for std in self.std]
        shift = [-mean / std for mean, std in zip(self.mean, self.std, strict=True)]
        factors = to_device(torch.tensor([scale, shift]), images.device).view(2, 1, channels, 1, 1)
        return images.to(torch.float32).mul_(factors[0]).add_(factors[1])


def compute_normalization(image_set: ImageSet) -> Normalization:
    """The exact mean and standard deviation of every channel over all pixels of a set.

    Counts how often each of the 256 byte values occurs, a few megabytes at a time, so nothing is
    rounded before the last step. A constant channel gets the standard deviation 1.
    """
    channels, height, width = image_set.image_shape
    step = max(1, _CHUNK_BYTES // (channels * height * width))
    counts = np.zeros((channels, 256), dtype=np.int64)
    for start in range(0, len(image_set), step):
        chunk = image_set.images[start : start + step]
        for channel in range(channels):
            counts[channel] += np.bincount(chunk[:, channel].ravel(), minlength=256)
    moments = [_mean_and_std([int(count) for count in row]) for row in counts]
    return Normalization(
        mean=tuple(mean for mean, _ in moments), std=tuple(std for _, std in moments)
    )


def _mean_and_std(counts: list[int]) -> tuple[float, float]:
    total = sum(counts)
    first = sum(value * count for value, count in enumerate(counts))
    second = sum(value * value * count for value, count in enumerate(counts))
    # Whole numbers of any length: the difference of two nearly equal squares stays exact.
    variance = (total * second - first * first) / (255 * total) ** 2
    return first / (255 * total), math.sqrt(variance) or 1.0
