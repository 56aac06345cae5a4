"""The fifteen common corruptions at five severities (Hendrycks and Dietterich, ICLR 2019).

Knows bytes and positions. What happens to an image is a pure function of (seed, corruption,
severity, index), whatever batch it is in.
"""

import torch
from torch import Tensor

from model_compression.evaluation.corruptions.blur import BLURS
from model_compression.evaluation.corruptions.digital import DIGITAL
from model_compression.evaluation.corruptions.fields import Draws
from model_compression.evaluation.corruptions.levels import Corruption, length_scale
from model_compression.evaluation.corruptions.noise import NOISES
from model_compression.evaluation.corruptions.weather import WEATHERS

_ALL: dict[str, Corruption] = NOISES | BLURS | WEATHERS | DIGITAL

CORRUPTIONS: dict[str, str] = {name: corruption.family for name, corruption in _ALL.items()}
"""The family of every corruption, by its name, in the paper's order."""
SEVERITIES = (1, 2, 3, 4, 5)


def corrupt(
    images: Tensor, indices: Tensor, corruption: str, severity: int, seed: int = 0
) -> Tensor:
    """Corrupts a batch.

    The constants are CIFAR-10-C's for images with a shorter side below 85 pixels and ImageNet-C's
    above; lengths go with that side. ``docs/generalisation.md`` has each with its source.

    Args:
        images: uint8, shape (N, C, H, W), on the CPU.
        indices: Each image's position in its set, int64, shape (N,).
        corruption: A key of ``CORRUPTIONS``.
        severity: From 1 to 5.
        seed: Other seeds give other noise, snow, directions.

    Returns:
        A uint8 tensor of the same shape; the input is not changed.

    Raises:
        ValueError: If an argument is not as above.
    """
    _check(images, indices, corruption, severity)
    if len(images) == 0:
        return images.clone()
    chosen = _ALL[corruption]
    side = min(images.shape[2:])
    draws = Draws(seed, list(_ALL).index(corruption), indices)
    corrupted = chosen.apply(
        images.contiguous().float() / 255,
        chosen.levels.at(severity, side),
        length_scale(side),
        draws,
    )
    return (corrupted.clamp(0, 1) * 255).round().to(torch.uint8)


def _check(images: Tensor, indices: Tensor, corruption: str, severity: int) -> None:
    if images.dtype != torch.uint8 or images.ndim != 4 or 0 in images.shape[1:]:
        raise ValueError(
            "Corruptions take uint8 images of shape (N, C, H, W); "
            f"got {images.dtype} of shape {tuple(images.shape)}."
        )
    if indices.dtype != torch.int64 or indices.shape != images.shape[:1]:
        raise ValueError(
            f"Corruptions take one int64 index per image, shape ({len(images)},); "
            f"got {indices.dtype} of shape {tuple(indices.shape)}."
        )
    if corruption not in _ALL:
        raise ValueError(f"Expected a corruption of {', '.join(_ALL)}; got {corruption!r}.")
    if severity not in SEVERITIES:
        raise ValueError(f"Expected a severity from 1 to 5; got {severity}.")
