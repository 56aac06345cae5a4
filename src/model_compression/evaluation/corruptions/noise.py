"""Noise: each byte is changed on its own.

The constants are amplitudes, which do not go with the size of the image.
"""

import torch
from torch import Tensor

from model_compression.evaluation.corruptions.fields import Draws
from model_compression.evaluation.corruptions.levels import Corruption, Levels

_BYTES = 256


def gaussian_noise(images: Tensor, deviation: float, _: float, draws: Draws) -> Tensor:
    """Too little light for the sensor: x + ``deviation`` · N(0, 1)."""
    return images + deviation * draws.normal(0, *images.shape[1:])


def shot_noise(images: Tensor, photons: int, _: float, draws: Draws) -> Tensor:
    """Light comes in whole photons: Poisson(``photons`` · x) / ``photons``.

    Drawn by inversion, from a table of the distribution functions of all 256 brightnesses.
    """
    rate = photons * torch.arange(_BYTES, dtype=torch.float64) / (_BYTES - 1)
    # The chance of a count above this at full brightness is below the step of a uniform draw.
    most = int(photons + 6 * photons**0.5 + 12)
    counts = torch.arange(1, most + 2, dtype=torch.float64)
    # P(X <= k) = Q(k + 1, rate); Q is not defined at a rate of 0, where no photon comes.
    cumulated = torch.special.gammaincc(counts, rate.clamp_min(1e-300)[:, None])
    brightness = (images * (_BYTES - 1)).round().long()
    # One ascending line for all brightnesses, so that a single search finds all counts.
    line = (torch.arange(_BYTES)[:, None] + cumulated.clamp_max(1 - 1e-12)).flatten()
    wanted = brightness + draws.uniform(0, *images.shape[1:]).double()
    found = torch.searchsorted(line, wanted) - brightness * len(counts)
    return found.clamp(0, most).float() / photons


def impulse_noise(images: Tensor, share: float, _: float, draws: Draws) -> Tensor:
    """A ``share`` of the values becomes 0 or 1, either with the same chance: salt and pepper."""
    drawn = draws.uniform(0, *images.shape[1:])
    salted = torch.where(drawn < share / 2, 1.0, images)
    return torch.where(drawn > 1 - share / 2, 0.0, salted)


NOISES = {
    "gaussian_noise": Corruption(
        "noise",
        Levels((0.04, 0.06, 0.08, 0.09, 0.10), (0.08, 0.12, 0.18, 0.26, 0.38)),
        gaussian_noise,
    ),
    "shot_noise": Corruption(
        "noise", Levels((500, 250, 100, 75, 50), (60, 25, 12, 5, 3)), shot_noise
    ),
    "impulse_noise": Corruption(
        "noise",
        Levels((0.01, 0.02, 0.03, 0.05, 0.07), (0.03, 0.06, 0.09, 0.17, 0.27)),
        impulse_noise,
    ),
}
