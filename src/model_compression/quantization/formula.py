"""The formula of uniform quantization, plainly: ``q(x) = (clamp(round(x / s) + z) - z) * s``.

Knows numbers only; how a range is chosen is ``ranges``' business. It is the reference that the
training's fake quantizers are held to.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

LARGEST_INTEGER = 127
"""Of a stored weight, whatever its bits: the kernels take signed bytes."""

Sharing = Literal["channel", "tensor"]
"""Whether each output channel has a step of its own, or all share one."""


@dataclass(frozen=True, eq=False)
class Grid:
    """The numbers that can be represented: ``scale * (q - zero_point)`` for integers q in a range.

    ``scale`` and ``zero_point`` broadcast against the tensor: shape () for one grid a tensor, or
    (C, 1, ...) for one a channel.
    """

    scale: Tensor
    zero_point: Tensor
    smallest: int
    largest: int


def symmetric_grid(
    x: Tensor, bits: int = 8, axis: int | None = None, limits: Tensor | None = None
) -> Grid:
    """The grid around zero that covers ``x``: ``s = limit / (2^(bits-1) - 1)``, z = 0.

    Args:
        x: Floats, at least one; an all-zero range gets the scale 1.
        bits: 2 to 16; the integers are ``-(2^(bits-1) - 1)`` to ``2^(bits-1) - 1``.
        axis: The channels' axis for a grid a channel; None for one a tensor.
        limits: Where ``|x|`` is clipped, at least 0, as ``ranges.symmetric_limits`` chooses it:
            shape () for a tensor, (C,) for its channels. ``max|x|`` if left out.

    Raises:
        ValueError: If ``bits`` is out of range, ``x`` is empty or not finite, or ``limits`` are not
            limits of it.
    """
    _check(x, bits)
    largest = 2 ** (bits - 1) - 1
    if limits is None:
        low, high = _extremes(x, axis)
        limits = torch.maximum(-low, high)
    else:
        limits = _beside(x, axis, limits)
        if (limits < 0).any():
            raise ValueError(f"|x| is clipped at 0 or more; a limit is {limits.min().item()}.")
    scale = _nonzero(limits / largest)
    return Grid(scale, torch.zeros_like(scale), -largest, largest)


def affine_grid(
    x: Tensor,
    bits: int = 8,
    axis: int | None = None,
    limits: tuple[Tensor, Tensor] | None = None,
) -> Grid:
    """The grid that covers ``x`` and zero: ``s = (high - low) / (2^bits - 1)``.

    ``z = round(-low / s)``, so zero is represented exactly. The integers are 0 to ``2^bits - 1``.

    Args:
        x: Floats, at least one; an all-zero range gets the scale 1.
        bits: 2 to 16.
        axis: The channels' axis for a grid a channel; None for one a tensor.
        limits: Where ``x`` is clipped, (low, high), as ``ranges.affine_limits`` chooses it; shape
            () each for a tensor, (C,) for its channels. Its minimum and maximum if left out. Zero
            is covered in any case.

    Raises:
        ValueError: If ``bits`` is out of range, ``x`` is empty or not finite, or ``limits`` are not
            limits of it.
    """
    _check(x, bits)
    largest = 2**bits - 1
    if limits is None:
        low, high = _extremes(x, axis)
    else:
        low, high = (_beside(x, axis, limit) for limit in limits)
        if (low > high).any():
            raise ValueError("x is clipped from low to high; a low limit lies above its high one.")
    low, high = low.clamp(max=0.0), high.clamp(min=0.0)
    # Each end is divided first: the difference of two large floats may overflow.
    scale = _nonzero(high / largest - low / largest)
    return Grid(scale, torch.round(-low / scale).clamp(0, largest), 0, largest)


def quantize(x: Tensor, grid: Grid) -> Tensor:
    """The integers, int32, of ``x``: ``clamp(round(x / s) + z)``; ties go to the even integer."""
    return (
        (torch.round(x / grid.scale) + grid.zero_point)
        .clamp(grid.smallest, grid.largest)
        .to(torch.int32)
    )


def dequantize(q: Tensor, grid: Grid) -> Tensor:
    """The numbers that the integers ``q`` stand for: ``s * (q - z)``."""
    return (q - grid.zero_point) * grid.scale


def fake_quantize(x: Tensor, grid: Grid) -> Tensor:
    """``x`` rounded to the grid: what is left of it after quantizing and dequantizing."""
    return dequantize(quantize(x, grid), grid)


def _check(x: Tensor, bits: int) -> None:
    if not 2 <= bits <= 16:
        raise ValueError(f"Quantization takes 2 to 16 bits, not {bits}.")
    if x.numel() == 0 or not torch.isfinite(x).all():
        raise ValueError(
            f"A grid needs finite values to cover; the tensor of shape {tuple(x.shape)} is "
            f"{'empty' if x.numel() == 0 else 'not finite'}."
        )


def _extremes(x: Tensor, axis: int | None) -> tuple[Tensor, Tensor]:
    """The smallest and the largest value, of all or channel by channel, ready to broadcast."""
    if axis is None:
        return x.amin(), x.amax()
    others = [dimension for dimension in range(x.ndim) if dimension != axis % x.ndim]
    return x.amin(others, keepdim=True), x.amax(others, keepdim=True)


def _beside(x: Tensor, axis: int | None, limits: Tensor) -> Tensor:
    """``limits``, one for all or one a channel, ready to broadcast against ``x``."""
    expected = () if axis is None else (x.shape[axis],)
    if limits.shape != expected or not torch.isfinite(limits).all():
        raise ValueError(
            f"A tensor of shape {tuple(x.shape)} takes finite limits of shape {expected} for "
            f"axis={axis}; these are of shape {tuple(limits.shape)}: {limits}."
        )
    if axis is None:
        return limits
    return limits.reshape([-1 if at == axis % x.ndim else 1 for at in range(x.ndim)])


def _nonzero(scale: Tensor) -> Tensor:
    return torch.where(scale > 0, scale, torch.ones_like(scale))
