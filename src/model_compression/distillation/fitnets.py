"""Distillation by a hint: FitNets (Romero et al., ICLR 2015, eq. 3).

    ½ ‖ u_h(x) - r(v_g(x)) ‖²

u_h is the teacher's hint layer, v_g the student's guided layer, r a learned regressor. The paper
trains up to the guided layer by the hint alone and then the whole student by soft targets; here the
hint is learned beside the labels from the first step on, in one training, and the squares are
averaged rather than summed, so that the weight does not depend on the size of the maps.

Knows one map of each network and looks at it point by point.
"""

from typing import Literal

from pydantic import NonNegativeInt, PositiveFloat
from torch import Tensor, nn
from torch.nn import functional

from model_compression.distillation.maps import same_size
from model_compression.distillation.method import DistillationError, Observed
from model_compression.distillation.transfer import FeatureMethod, Probe, Transfer
from model_compression.images import Batch
from model_compression.models.initialisation import initialise_convolutions


def fitnets_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """The mean of (u - r)² over images, channels and positions.

    Args:
        student: The regressor's output r, shape (N, C, H, W).
        teacher: The hint u, the same shape.

    Returns:
        A scalar ≥ 0; 0 where both are the same.
    """
    return functional.mse_loss(*same_size(student, teacher))


class FitNetsSettings(FeatureMethod):
    """A regressor on a middle layer of the student has to give the teacher's."""

    method: Literal["fitnets"]
    weight: PositiveFloat = 100.0
    """Of the hint (RepDistiller's on CIFAR-100)."""
    hint: NonNegativeInt | None = None
    """Which of the observed layers, counted from 0; ``null`` for the middle one, as a hint at the
    output leaves the student the least freedom."""

    @property
    def is_mean_over_images(self) -> bool:
        """It is."""
        return True

    def transfer(self, probe: Probe) -> Transfer:
        """Made for the channels of the hinted layers.

        Raises:
            DistillationError: If there is no such layer.
        """
        count = len(probe.teacher.features)
        hint = count // 2 if self.hint is None else self.hint
        if hint >= count:
            raise DistillationError(
                f"hint is the number of an observed layer, counted from 0: below {count}, not "
                f"{hint}; name more student_layers and teacher_layers or take a lower hint"
            )
        return _Hint(probe.student.features[hint], probe.teacher.features[hint], hint, self.weight)


class _Hint(Transfer):
    def __init__(self, student: Tensor, teacher: Tensor, hint: int, weight: float) -> None:
        super().__init__()
        self._hint = hint
        self._weight = weight
        channels = teacher.shape[1]
        # The regressor ends with the hint's own non-linearity (section 2.2): what a ReLU let
        # through has no negative values.
        rectified = bool((teacher >= 0).all())
        self.regressor = nn.Sequential(
            nn.Conv2d(student.shape[1], channels, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU() if rectified else nn.Identity(),
        )
        initialise_convolutions(self.regressor)

    def forward(self, student: Observed, teacher: Observed, batch: Batch) -> Tensor:
        guided, hint = same_size(student.features[self._hint], teacher.features[self._hint])
        return self._weight * fitnets_loss(self.regressor(guided), hint)
