"""Distillation by which images look alike: similarity-preserving KD (Tung & Mori, ICCV 2019).

Eq. 2-4, over the activations Q of a batch of b images, one row each:

    1/b² · ‖ G_T - G_S ‖²_F,  G = Q Qᵀ, each row divided by its L2 norm

Knows the similarities of the images of a batch, not what makes them similar.
"""

from typing import Literal

from pydantic import PositiveFloat
from torch import Tensor
from torch.nn import functional

from model_compression.distillation.maps import at_least_float32
from model_compression.distillation.method import Observed
from model_compression.distillation.transfer import FeatureMethod, Probe, Transfer
from model_compression.images import Batch


def sp_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """The mean over pairs of images of the squared difference of their similarities.

    Args:
        student: Activations, shape (N, …).
        teacher: Likewise; all but N may differ.

    Returns:
        A scalar ≥ 0; 0 where both find the same images alike, whatever the activations' scale and
        rotation.
    """
    return functional.mse_loss(_similarities(student), _similarities(teacher.detach()))


def _similarities(activations: Tensor) -> Tensor:
    """Rows of unit length, (N, N)."""
    rows = at_least_float32(activations).flatten(1)
    return functional.normalize(rows @ rows.T)


class SpSettings(FeatureMethod):
    """Images that are alike to the teacher are alike to the student, at the last observed layer.

    The paper compares the last convolution's activations; to compare others, name them as
    ``student_layers`` and ``teacher_layers``.
    """

    method: Literal["sp"]
    weight: PositiveFloat = 3000.0
    """γ (the paper's on CIFAR-10, RepDistiller's on CIFAR-100)."""

    def transfer(self, probe: Probe) -> Transfer:
        """Learns nothing itself."""
        return _LastLayer(self.weight)


class _LastLayer(Transfer):
    def __init__(self, weight: float) -> None:
        super().__init__()
        self._weight = weight

    def forward(self, student: Observed, teacher: Observed, batch: Batch) -> Tensor:
        return self._weight * sp_loss(student.features[-1], teacher.features[-1])
