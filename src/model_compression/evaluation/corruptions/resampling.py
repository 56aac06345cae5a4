"""Moves and mixes pixels of float images (N, C, H, W): blur, zoom, sampling at any position.

Knows no randomness and no corruption. Beyond the border, the border's pixels go on.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

_SUBPIXELS = 16
"""A disc's share of a pixel is counted on this many points a side."""


def gaussian_blur(images: Tensor, sigma: float) -> Tensor:
    """Convolution with a Gaussian of ``sigma`` pixels, cut off at 4 sigma."""
    radius = math.ceil(4 * sigma)
    weights = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / max(sigma, 1e-6)) ** 2)
    weights = weights / weights.sum()
    return convolve(convolve(images, weights[None, :]), weights[:, None])


def disc(radius: float) -> Tensor:
    """The share of each pixel that a disc of ``radius`` pixels around the middle one covers.

    Returns:
        An odd square of weights that add up to 1.
    """
    reach = math.ceil(max(radius - 0.5, 0))
    side = 2 * reach + 1
    points = (torch.arange(side * _SUBPIXELS) + 0.5) / _SUBPIXELS - side / 2
    inside = (points[:, None] ** 2 + points[None, :] ** 2 <= radius**2).float()
    weights = F.avg_pool2d(inside[None, None], _SUBPIXELS)[0, 0]
    return weights / weights.sum() if weights.sum() > 0 else torch.ones(1, 1)


def convolve(images: Tensor, kernel: Tensor) -> Tensor:
    """Each channel convolved with one symmetric kernel of odd sides."""
    count, channels, height, width = images.shape
    rows, columns = kernel.shape[0] // 2, kernel.shape[1] // 2
    padded = F.pad(images, (columns, columns, rows, rows), mode="replicate")
    flat = padded.view(count * channels, 1, *padded.shape[2:])
    return F.conv2d(flat, kernel[None, None]).view(count, channels, height, width)


def sample(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The images at any positions, bilinearly.

    Args:
        images: Float, shape (N, C, H, W).
        rows: In pixels, shape (N, H', W').
        columns: In pixels, the same shape.

    Returns:
        Shape (N, C, H', W').
    """
    height, width = images.shape[2:]
    grid = torch.stack([(2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1], dim=-1)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def pixel_grid(height: int, width: int) -> tuple[Tensor, Tensor]:
    """The rows and the columns of all pixels, float, shape (1, H, W) each."""
    rows, columns = torch.meshgrid(
        torch.arange(height).float(), torch.arange(width).float(), indexing="ij"
    )
    return rows[None], columns[None]


def motion_blur(images: Tensor, degrees: Tensor, sigma: float, length: int) -> Tensor:
    """Each image smeared in its own direction, most where it is and ever less behind it.

    The weights are half of a Gaussian, exp(-i² / 2 sigma²) for i = 0, …, ``length`` pixels along
    the direction.

    Args:
        images: Float, shape (N, C, H, W).
        degrees: Directions, shape (N,).
        sigma: In pixels.
        length: In pixels.
    """
    rows, columns = pixel_grid(*images.shape[2:])
    radians = torch.deg2rad(degrees).view(-1, 1, 1)
    weights = torch.exp(-0.5 * (torch.arange(length + 1) / sigma) ** 2)
    # The tail below a thousandth of the first weight costs as much as the rest, and is not seen.
    weights = weights[weights > 1e-3]
    smeared = torch.zeros_like(images)
    for step, weight in enumerate(weights / weights.sum()):
        at_rows, at_columns = (
            rows + step * torch.sin(radians),
            columns + step * torch.cos(radians),
        )
        smeared += weight * sample(images, at_rows, at_columns)
    return smeared


def zoom(images: Tensor, factor: float) -> Tensor:
    """The middle of each image, ``factor`` times as large, bilinearly; the size stays."""
    height, width = images.shape[2:]
    return _stretch(height, factor) @ images @ _stretch(width, factor).T


def shrink(images: Tensor, height: int, width: int) -> Tensor:
    """Each new pixel is the mean of the area that it covers."""
    return _areas(images.shape[2], height) @ images @ _areas(images.shape[3], width).T


def _stretch(size: int, factor: float) -> Tensor:
    """What of each old pixel of a line is in each new one, shape (size, size)."""
    at = ((torch.arange(size) + 0.5 - size / 2) / factor + size / 2 - 0.5).clamp(0, size - 1)
    return (1 - (at[:, None] - torch.arange(size)).abs()).clamp_min(0)


def _areas(old: int, new: int) -> Tensor:
    """What of each new pixel of a line each old one covers, shape (new, old)."""
    edges = torch.arange(new + 1) * (old / new)
    pixels = torch.arange(old)
    overlap = torch.minimum(edges[1:, None], pixels + 1) - torch.maximum(edges[:-1, None], pixels)
    return overlap.clamp_min(0) * (new / old)
