"""Distillation by what neurons select: NST (Huang & Wang, "Like What You Like", 2017).

The squared maximum mean discrepancy between the teacher's and the student's channels, each a
spatial map f of unit length, under the polynomial kernel k(x, y) = (xᵀy)²  (d = 2, c = 0):

    1/C_T² ΣΣ k(f_T, f_T') + 1/C_S² ΣΣ k(f_S, f_S') - 2/(C_T C_S) ΣΣ k(f_T, f_S)

Knows a channel's pattern over the positions, not its scale, nor which channel it is.
"""

from typing import Literal

from pydantic import PositiveFloat
from torch import Tensor
from torch.nn import functional

from model_compression.distillation.maps import SumOverLayers, same_size
from model_compression.distillation.transfer import FeatureMethod, Probe, Transfer


def nst_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """MMD² between the channels of two maps, averaged over the batch.

    The kernel's sums need no (C, C, H·W) products: they are the squared entries of either the
    channels' (C, C) or the positions' (H·W, H·W) inner products, whichever are fewer.

    Args:
        student: (N, C_s, H_s, W_s).
        teacher: (N, C_t, H_t, W_t).

    Returns:
        A scalar ≥ 0 but for rounding; 0 where both have the same patterns, whatever their order
        and scale.
    """
    student, teacher = same_size(student, teacher)
    student = functional.normalize(student.flatten(2), dim=2)
    teacher = functional.normalize(teacher.flatten(2), dim=2)
    if student.shape[2] < max(student.shape[1], teacher.shape[1]):
        return _by_positions(student, teacher)
    return _by_channels(student, teacher)


def _by_positions(student: Tensor, teacher: Tensor) -> Tensor:
    """‖ F_SᵀF_S / C_S - F_TᵀF_T / C_T ‖²_F, which expands to the formula."""
    difference = student.mT @ student / student.shape[1] - teacher.mT @ teacher / teacher.shape[1]
    return difference.square().sum((1, 2)).mean()


def _by_channels(student: Tensor, teacher: Tensor) -> Tensor:
    within = _kernel_mean(student, student) + _kernel_mean(teacher, teacher)
    return within - 2 * _kernel_mean(student, teacher)


def _kernel_mean(left: Tensor, right: Tensor) -> Tensor:
    return (left @ right.mT).square().mean()


class NstSettings(FeatureMethod):
    """The student's channels have the teacher's spatial patterns, at every observed layer."""

    method: Literal["nst"]
    weight: PositiveFloat = 5.0
    """λ of the paper, its factor ½ included. The usual 50 was worse than 5 on validation images
    (docs/how-to/choose-a-method.md)."""

    @property
    def is_mean_over_images(self) -> bool:
        """It is."""
        return True

    def transfer(self, probe: Probe) -> Transfer:
        """Learns nothing itself."""
        return SumOverLayers(nst_loss, self.weight)
