"""What a network sees of an image: all of it, or another view that it computes itself.

Knows normalised images and shapes; which network looks at the view is the spec's business. As the
view is part of the network, a teacher and a student can see different modalities of the very same
images, and a file that is deployed takes the same bytes whatever its network sees.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from model_compression.models.architecture import InputShape, ModelError

Sight = Literal["image", "half_resolution", "grey", "gradients", "image_and_gradients"]
"""``image``: all of it. ``half_resolution``: means of 2x2 pixels; an odd last row or column is left
out. ``grey``: the channels' mean. ``gradients``: how each channel changes from left to right, then
how each changes from top to bottom (Sobel). ``image_and_gradients``: the image's channels, then
these."""


class Viewed(nn.Module):
    """A network behind a view: ``network(look(images, sees))``."""

    def __init__(self, sees: Sight, network: nn.Module) -> None:
        """Puts the view before a network.

        Args:
            sees: What of the images it gets.
            network: Built for images of ``seen_shape``.
        """
        super().__init__()
        self.sees: Sight = sees
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Logits, shape (N, classes), of normalised images, shape (N, C, H, W)."""
        logits: Tensor = self.network(look(images, self.sees))
        return logits


def seen_shape(input_shape: InputShape, sees: Sight) -> InputShape:
    """(C, H, W) of what ``look`` makes of an image of ``input_shape``.

    Raises:
        ModelError: If nothing of it would be left.
    """
    channels, height, width = input_shape
    match sees:
        case "half_resolution":
            if min(height, width) < 2:
                raise ModelError(
                    f"an image of {height}x{width} pixels has no half resolution: set sees: image"
                )
            return channels, height // 2, width // 2
        case "grey":
            return 1, height, width
        case "gradients":
            return 2 * channels, height, width
        case "image_and_gradients":
            return 3 * channels, height, width
        case "image":
            return input_shape


def look(images: Tensor, sees: Sight) -> Tensor:
    """What is seen of ``images``.

    Args:
        images: Normalised, shape (N, C, H, W).
        sees: Which view.

    Returns:
        Shape (N, *seen_shape((C, H, W), sees)).
    """
    match sees:
        case "half_resolution":
            return functional.avg_pool2d(images, 2)
        case "grey":
            return images.mean(1, keepdim=True)
        case "gradients":
            return torch.cat(sobel(images), 1)
        case "image_and_gradients":
            return torch.cat((images, *sobel(images)), 1)
        case "image":
            return images


def sobel(images: Tensor) -> tuple[Tensor, Tensor]:
    """Sobel's gradients: (1, 2, 1) / 4 along one axis, (-1, 0, 1) along the other.

    Divided by 4, they lie within plus and minus the range of the image, so that image and gradients
    can share the one scale that integers get. Beyond its border an image goes on as it ends.

    It is written in differences, not as a convolution: nothing in it is trained, so nothing in it
    is to be quantized, pruned or counted.

    Args:
        images: Shape (N, C, H, W).

    Returns:
        From left to right, and from top to bottom; each (N, C, H, W).
    """
    padded = functional.pad(images, (1, 1, 1, 1), mode="replicate")
    return _difference(_smooth(padded, 2), 3), _difference(_smooth(padded, 3), 2)


def _smooth(images: Tensor, axis: int) -> Tensor:
    """(1, 2, 1) / 4 as x - ((x - before) - (after - x)) / 4; two shorter along ``axis``."""
    before, here, after = _neighbours(images, axis)
    return here - ((here - before) - (after - here)) / 4


def _difference(images: Tensor, axis: int) -> Tensor:
    before, _, after = _neighbours(images, axis)
    return after - before


def _neighbours(images: Tensor, axis: int) -> tuple[Tensor, Tensor, Tensor]:
    count = images.shape[axis] - 2
    return (
        images.narrow(axis, 0, count),
        images.narrow(axis, 1, count),
        images.narrow(axis, 2, count),
    )
