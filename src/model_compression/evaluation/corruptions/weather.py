"""Weather: snow, frost, fog, and the brightness of the day.

The frost's ice and the fog's clouds are synthesised: no picture is shipped with the project.
"""

import torch
from torch import Tensor

from model_compression.evaluation.corruptions.fields import Draws, plasma, ridges
from model_compression.evaluation.corruptions.levels import Corruption, Levels
from model_compression.evaluation.corruptions.resampling import motion_blur, zoom

_LUMA = (0.299, 0.587, 0.114)
_ICE = (0.85, 0.95, 1.0)
"""Ice is a little blue where there are colours."""


def snow(
    images: Tensor,
    level: tuple[float, float, float, float, int, float, float],
    scale: float,
    draws: Draws,
) -> Tensor:
    """Flakes, smeared downwards, over a whitened image.

    The flakes are normal noise, enlarged and cut off below a threshold; they are added as they
    are, and once more turned by 180 degrees.
    """
    mean, deviation, enlarged, threshold, radius, sigma, kept = level
    height, width = images.shape[2:]
    flakes = mean + deviation * draws.normal(0, 1, height, width)
    flakes = zoom(flakes, max(1.0, enlarged * scale))
    flakes = torch.where(flakes < threshold, 0.0, flakes).clamp(0, 1)
    degrees = 90 * draws.uniform(1) - 135
    flakes = motion_blur(flakes, degrees, sigma * scale, round(2 * radius * scale))
    whitened = torch.maximum(images, 1.5 * _grey(images) + 0.5)
    return kept * images + (1 - kept) * whitened + flakes + flakes.flip((2, 3))


def frost(images: Tensor, level: tuple[float, float], _: float, draws: Draws) -> Tensor:
    """A weighted sum of the image and of ice: veins on a cloudy ground, made for each image."""
    kept, iced = level
    height, width = images.shape[2:]
    ground = plasma(draws, 0, height, width, decay=2.0)
    ice = 0.6 * ridges(draws, 100, height, width) + 0.4 * ground
    if images.shape[1] == len(_ICE):
        ice = ice * torch.tensor(_ICE).view(1, -1, 1, 1)
    return kept * images + iced * ice


def fog(images: Tensor, level: tuple[float, float], _: float, draws: Draws) -> Tensor:
    """Adds thickness · clouds, then scales so that the brightest value stays what it was."""
    thickness, decay = level
    height, width = images.shape[2:]
    clouds = plasma(draws, 0, height, width, decay)
    brightest = images.amax((1, 2, 3), keepdim=True)
    return (images + thickness * clouds) * brightest / (brightest + thickness)


def brightness(images: Tensor, more: float, _: float, __: Draws) -> Tensor:
    """More of the value V = max(R, G, B), at the same hue and saturation."""
    value = images.amax(1, keepdim=True)
    lighter = (value + more).clamp_max(1)
    # Black has no hue to keep: it becomes grey.
    return torch.where(value > 0, images * lighter / value.clamp_min(1e-6), lighter)


def _grey(images: Tensor) -> Tensor:
    if images.shape[1] == len(_LUMA):
        return (images * torch.tensor(_LUMA).view(1, -1, 1, 1)).sum(1, keepdim=True)
    return images.mean(1, keepdim=True)


WEATHERS = {
    "snow": Corruption(
        "weather",
        Levels(
            (
                (0.10, 0.2, 1.00, 0.60, 8, 3.0, 0.95),
                (0.10, 0.2, 1.00, 0.50, 10, 4.0, 0.90),
                (0.15, 0.3, 1.75, 0.55, 10, 4.0, 0.90),
                (0.25, 0.3, 2.25, 0.60, 12, 6.0, 0.85),
                (0.30, 0.3, 1.25, 0.65, 14, 12.0, 0.80),
            ),
            (
                (0.10, 0.3, 3.0, 0.50, 10, 4.0, 0.80),
                (0.20, 0.3, 2.0, 0.50, 12, 4.0, 0.70),
                (0.55, 0.3, 4.0, 0.90, 12, 8.0, 0.70),
                (0.55, 0.3, 4.5, 0.85, 12, 8.0, 0.65),
                (0.55, 0.3, 2.5, 0.85, 12, 12.0, 0.55),
            ),
        ),
        snow,
    ),
    "frost": Corruption(
        "weather",
        Levels(
            ((1.0, 0.2), (1.0, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
            ((1.0, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
        ),
        frost,
    ),
    "fog": Corruption(
        "weather",
        Levels(
            ((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75)),
            ((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4)),
        ),
        fog,
    ),
    "brightness": Corruption(
        "weather",
        Levels((0.05, 0.10, 0.15, 0.20, 0.30), (0.1, 0.2, 0.3, 0.4, 0.5)),
        brightness,
    ),
}
