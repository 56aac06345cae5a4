"""What is done to pictures on their way: contrast, bending, coarser pixels, JPEG.

Only the bending has lengths, and it takes them as shares of the image's side.
"""

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from model_compression.evaluation.corruptions.fields import Draws
from model_compression.evaluation.corruptions.levels import Corruption, Levels
from model_compression.evaluation.corruptions.resampling import (
    gaussian_blur,
    pixel_grid,
    sample,
    shrink,
)
from model_compression.images import to_picture

_SMOOTHNESS = 0.04
"""Sigma of the field that bends an image, as a share of its side."""


def contrast(images: Tensor, kept: float, _: float, __: Draws) -> Tensor:
    """Less contrast: m + ``kept`` · (x - m), m being each channel's mean."""
    means = images.mean((2, 3), keepdim=True)
    return means + kept * (images - means)


def elastic_transform(images: Tensor, level: tuple[float, float], _: float, draws: Draws) -> Tensor:
    """A random affine map, and a smooth random displacement of every pixel.

    The map moves three points, a third of the side around the middle, by up to ``affine`` sides
    each; the displacement has a root mean square of ``bend`` sides along each axis.
    """
    affine, bend = level
    height, width = images.shape[2:]
    side = min(height, width)
    rows, columns = pixel_grid(height, width)
    places = torch.stack(
        [rows - (height - 1) / 2, columns - (width - 1) / 2, torch.full_like(rows, side / 3)],
        dim=-1,
    )
    corners = torch.tensor([[1.0, 1.0, 1.0], [1.0, -1.0, 1.0], [-1.0, -1.0, 1.0]])
    moves = affine * side * (2 * draws.uniform(0, 3, 2) - 1)
    moved = places @ torch.linalg.solve(corners * (side / 3), moves)[:, None]
    sigma = _SMOOTHNESS * side
    noise = 2 * draws.uniform(1, 2, height, width) - 1
    smooth = gaussian_blur(noise, sigma)
    # Smoothing weakens white noise; each image's field is brought back to what was asked for.
    strength = smooth.square().mean((1, 2, 3), keepdim=True).sqrt().clamp_min(1e-6)
    down, right = (bend * side * smooth / strength).unbind(1)
    return sample(images, rows + moved[..., 0] + down, columns + moved[..., 1] + right)


def pixelate(images: Tensor, kept: float, _: float, __: Draws) -> Tensor:
    """Shrunk to ``kept`` of the side and enlarged again, pixel by pixel."""
    height, width = images.shape[2:]
    coarse = shrink(images, max(1, int(height * kept)), max(1, int(width * kept)))
    return F.interpolate(coarse, size=(height, width), mode="nearest-exact")


def jpeg_compression(images: Tensor, quality: int, _: float, __: Draws) -> Tensor:
    """Encoded as JPEG and decoded again, in memory, by Pillow.

    Other channels than one or three are coded one by one.
    """
    data = (images * 255).round().to(torch.uint8)
    count, channels, height, width = data.shape
    pictures = data if channels == 3 else data.view(count * channels, 1, height, width)
    coded = np.stack([_jpeg(picture, quality) for picture in pictures.numpy()])
    return torch.from_numpy(coded).view(images.shape).float() / 255


def _jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    to_picture(picture).save(buffer, "JPEG", quality=quality)
    decoded = np.asarray(Image.open(buffer, formats=["JPEG"]))
    return decoded[None] if decoded.ndim == 2 else np.ascontiguousarray(decoded.transpose(2, 0, 1))


DIGITAL = {
    "contrast": Corruption(
        "digital", Levels((0.75, 0.5, 0.4, 0.3, 0.15), (0.4, 0.3, 0.2, 0.1, 0.05)), contrast
    ),
    "elastic_transform": Corruption(
        "digital",
        # The originals take from the map what they give to the displacement, so that a higher
        # severity is not farther from the clean image. These grow together, between their ends.
        Levels(
            ((0.02, 0.004), (0.03, 0.008), (0.04, 0.012), (0.05, 0.016), (0.06, 0.020)),
            ((0.02, 0.004), (0.03, 0.008), (0.04, 0.012), (0.05, 0.016), (0.06, 0.020)),
        ),
        elastic_transform,
    ),
    "pixelate": Corruption(
        "digital", Levels((0.95, 0.9, 0.85, 0.75, 0.65), (0.6, 0.5, 0.4, 0.3, 0.25)), pixelate
    ),
    "jpeg_compression": Corruption(
        "digital", Levels((80, 65, 58, 50, 40), (25, 18, 15, 10, 7)), jpeg_compression
    ),
}
