"""Rounds a tensor to 8 bits by its own range: ONNX's ``DynamicQuantizeLinear``, in PyTorch.

One operator, so that an exporter finds it in a graph whole. Knows tensors; who rounds what, and how
it is written into a file, is the rooms' business above, which both need it.
"""

import torch
from torch import Tensor

LARGEST = 255
"""The integers are 0 to this."""


def round_by_own_range(x: Tensor) -> Tensor:
    """``x`` on the grid of its own range, over the whole tensor: ``s * (q - z)``.

    With ``low = min(x, 0)`` and ``high = max(x, 0)``: ``s = (high - low) / 255``,
    ``z = round(-low / s)``, ``q = clamp(round(x / s) + z, 0, 255)``. Ties go to the even integer,
    and where everything is 0, s is 1.

    Args:
        x: Floats, of any shape, at least one.
    """
    low, high = x.amin().clamp_max(0.0), x.amax().clamp_min(0.0)
    scale = (high - low) / LARGEST
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    zero_point = (-low / scale).clamp(0, LARGEST).round()
    integers = ((x / scale).round() + zero_point).clamp(0, LARGEST)
    return (integers - zero_point) * scale


@torch.library.custom_op("model_compression::round_by_own_range", mutates_args=())
def _operator(x: Tensor) -> Tensor:
    return round_by_own_range(x)


@_operator.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


ROUND_BY_OWN_RANGE = torch.ops.model_compression.round_by_own_range.default
"""``round_by_own_range`` as an operator of a graph."""
