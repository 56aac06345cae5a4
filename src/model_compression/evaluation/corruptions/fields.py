"""Random fields for corruptions: white, smooth and fractal, each image's own whatever its batch.

Knows counters and shapes; what the fields do to an image is said elsewhere.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from model_compression.images.randomness import random_bits, uniform

# (k + 1/2) / 2**23 with k < 2**23 is exact in float32 and never 0 or 1, so its quantile is finite.
_LEVELS = 2**23


@dataclass(frozen=True)
class Draws:
    """Random numbers that depend on (seed, corruption, stream, image's index) and nothing else.

    They do not depend on the severity: at a higher one the same snow falls harder, so that two
    severities differ by their severity and not by chance.
    """

    seed: int
    corruption: int
    """The corruption's number."""
    indices: Tensor
    """Each image's position in its set, int64, shape (N,)."""

    def uniform(self, stream: int, *shape: int) -> Tensor:
        """Numbers inside (0, 1), float32, shape (N, *shape); each stream has others."""
        places = torch.arange(math.prod(shape)).view(1, *shape)
        indices = self.indices.view(-1, *(1 for _ in shape))
        bits = random_bits(self.seed, self.corruption, stream, indices, places)
        return (uniform(bits, _LEVELS).float() + 0.5) / _LEVELS

    def normal(self, stream: int, *shape: int) -> Tensor:
        """Standard normal numbers by their quantiles, float32, shape (N, *shape)."""
        return math.sqrt(2) * torch.erfinv(2 * self.uniform(stream, *shape) - 1)


def plasma(draws: Draws, stream: int, height: int, width: int, decay: float) -> Tensor:
    """A fractal height map, stretched to [0, 1], shape (N, 1, H, W).

    The sum of octaves of bilinearly widened uniform noise on 2, 4, 8, … cells a side, each
    ``decay`` times as weak as the one before it. It has the spectrum of the diamond-square
    algorithm, whose steps depend on each other.
    """
    return _stretched(sum(_octaves(draws, stream, height, width, decay)))


def ridges(draws: Draws, stream: int, height: int, width: int) -> Tensor:
    """Branching bright veins, stretched to [0, 1], shape (N, 1, H, W).

    Σ_k 2⁻ᵏ (1 - |n_k|)², which is bright where the octave n_k of the noise crosses zero.
    """
    octaves = _octaves(draws, stream, height, width, decay=1.0)
    return _stretched(sum((1 - n.abs()) ** 2 / 2**k for k, n in enumerate(octaves)))


def _octaves(draws: Draws, stream: int, height: int, width: int, decay: float) -> list[Tensor]:
    side = max(height, width)
    octaves = []
    for k in range(1, max(1, math.ceil(math.log2(side))) + 1):
        noise = 2 * draws.uniform(stream + k, 1, 2**k + 1, 2**k + 1) - 1
        wide = F.interpolate(noise, size=(side, side), mode="bilinear", align_corners=True)
        octaves.append(wide[..., :height, :width] / decay ** (k - 1))
    return octaves


def _stretched(field: Tensor | int) -> Tensor:
    assert isinstance(field, Tensor)  # a sum's type allows for no summands
    low, high = field.amin((2, 3), keepdim=True), field.amax((2, 3), keepdim=True)
    return (field - low) / (high - low).clamp_min(1e-6)
