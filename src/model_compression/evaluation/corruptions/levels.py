"""What a corruption is, and how its constants go with the size of the images.

Knows no single corruption.
"""

from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

from torch import Tensor

from model_compression.evaluation.corruptions.fields import Draws

Level = TypeVar("Level")

SMALL_SIDE, LARGE_SIDE = 32, 224
"""The sides in pixels that CIFAR-10-C's and ImageNet-C's constants were made for."""
_BOUNDARY = (SMALL_SIDE * LARGE_SIDE) ** 0.5
"""Between the two, where an image is as many times larger than one as it is smaller than other."""


class Levels(NamedTuple, Generic[Level]):
    """One corruption's constants at the severities 1 to 5; lengths in pixels are as published."""

    small: tuple[Level, Level, Level, Level, Level]
    """For images of 32 pixels a side (CIFAR-10-C)."""
    large: tuple[Level, Level, Level, Level, Level]
    """For images of 224 pixels a side (ImageNet-C)."""

    def at(self, severity: int, side: int) -> Level:
        """The constants of the data set whose images are nearer in size."""
        return (self.small if side < _BOUNDARY else self.large)[severity - 1]


def length_scale(side: int) -> float:
    """By what a published length is multiplied for images with a shorter side of ``side``."""
    return side / (SMALL_SIDE if side < _BOUNDARY else LARGE_SIDE)


class Corruption(NamedTuple):
    """One of the fifteen."""

    family: str
    """noise, blur, weather or digital."""
    levels: Levels[Any]
    apply: Callable[[Tensor, Any, float, Draws], Tensor]
    """Takes images in [0, 1], float32, (N, C, H, W), its constants at one severity, the scale of
    lengths, and draws; gives images of the same shape, which may leave [0, 1]."""
