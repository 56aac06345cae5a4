"""What the feature methods share: maps brought to one size, and a loss summed over the layers.

Knows maps (N, C, H, W); not which layers they are of, and no method.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from model_compression.distillation.method import Observed
from model_compression.distillation.transfer import Transfer
from model_compression.images import Batch


def at_least_float32(values: Tensor) -> Tensor:
    """``values`` in float32, or in what they are if that is wider."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def same_size(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Both maps at the smaller height and the smaller width, by averaging; the teacher detached.

    Args:
        student: (N, C_s, H_s, W_s).
        teacher: (N, C_t, H_t, W_t).

    Returns:
        (N, C_s, H, W) and (N, C_t, H, W), at least float32, where H = min(H_s, H_t) and
        W = min(W_s, W_t).
    """
    size = (min(student.shape[2], teacher.shape[2]), min(student.shape[3], teacher.shape[3]))
    return _pooled(student, size), _pooled(teacher.detach(), size)


def _pooled(map_: Tensor, size: tuple[int, int]) -> Tensor:
    map_ = at_least_float32(map_)
    return map_ if map_.shape[2:] == size else functional.adaptive_avg_pool2d(map_, size)


class SumOverLayers(Transfer):
    """weight · Σ over the layers of a loss that learns nothing itself.

    Args:
        loss: Of a student's and a teacher's map.
        weight: Of the sum.
    """

    def __init__(self, loss: Callable[[Tensor, Tensor], Tensor], weight: float) -> None:
        super().__init__()
        self._loss = loss
        self._weight = weight

    def forward(self, student: Observed, teacher: Observed, batch: Batch) -> Tensor:
        """A scalar."""
        pairs = zip(student.features, teacher.features, strict=True)
        return self._weight * torch.stack([self._loss(*pair) for pair in pairs]).sum()
