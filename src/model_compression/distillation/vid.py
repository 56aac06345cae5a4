"""Distillation by mutual information: VID (Ahn et al., CVPR 2019).

Maximises a variational bound of the information that the student's layer s has of the teacher's t:
the log-likelihood of t under a Gaussian whose mean μ(s) is learned, and a variance a channel too,

    -log q(t|s) = Σ_c,h,w [ log σ_c + (t_chw - μ_chw(s))² / (2 σ_c²) ] + constant,
    σ_c² = softplus(α_c) + ε

averaged over positions and channels rather than summed. A channel that the student can't predict
gets a large variance, and so counts less.

Knows maps, point by point.
"""

import math
from typing import Literal

import torch
from pydantic import PositiveFloat
from torch import Tensor, nn
from torch.nn import functional

from model_compression.distillation.maps import at_least_float32, same_size
from model_compression.distillation.method import Observed
from model_compression.distillation.transfer import FeatureMethod, Probe, Transfer
from model_compression.images import Batch
from model_compression.models.initialisation import initialise_convolutions

_EPSILON = 1e-5


def vid_loss(mean: Tensor, teacher: Tensor, variance: Tensor) -> Tensor:
    """The mean of ½ [ (t - μ)² / σ² + log σ² ] over images, channels and positions.

    Args:
        mean: μ, what was predicted of the teacher, shape (N, C, H, W).
        teacher: t, the same shape.
        variance: σ² > 0, shape (C,).

    Returns:
        A scalar, negative where the variances are small and the predictions good.
    """
    mean, teacher = same_size(mean, teacher)
    variance = at_least_float32(variance)[:, None, None]
    return 0.5 * ((teacher - mean).square() / variance + variance.log()).mean()


class VidSettings(FeatureMethod):
    """The student's maps tell as much as they can of the teacher's, at every observed layer."""

    method: Literal["vid"]
    weight: PositiveFloat = 1.0
    """Of the sum over the layers (RepDistiller's on CIFAR-100)."""
    initial_variance: PositiveFloat = 5.0
    """σ² of every channel before the first step."""

    @property
    def is_mean_over_images(self) -> bool:
        """It is."""
        return True

    def transfer(self, probe: Probe) -> Transfer:
        """Made for the channels of the observed layers."""
        pairs = zip(probe.student.features, probe.teacher.features, strict=True)
        channels = [(student.shape[1], teacher.shape[1]) for student, teacher in pairs]
        return _Information(channels, self.initial_variance, self.weight)


class _Gaussian(nn.Module):
    """q(t|s): three 1x1 convolutions give the mean, as in the authors' implementation."""

    def __init__(self, student: int, teacher: int, variance: float) -> None:
        super().__init__()
        self.mean = nn.Sequential(
            nn.Conv2d(student, teacher, 1),
            nn.ReLU(),
            nn.Conv2d(teacher, teacher, 1),
            nn.ReLU(),
            nn.Conv2d(teacher, teacher, 1),
        )
        initialise_convolutions(self.mean)
        # The inverse of softplus, in the form that doesn't overflow.
        scale = max(variance - _EPSILON, _EPSILON)
        self.alpha = nn.Parameter(torch.full((teacher,), scale + math.log(-math.expm1(-scale))))

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        variance = functional.softplus(self.alpha) + _EPSILON
        student, teacher = same_size(student, teacher)
        return vid_loss(self.mean(student), teacher, variance)


class _Information(Transfer):
    def __init__(self, channels: list[tuple[int, int]], variance: float, weight: float) -> None:
        super().__init__()
        self._weight = weight
        self.layers = nn.ModuleList(_Gaussian(*pair, variance) for pair in channels)

    def forward(self, student: Observed, teacher: Observed, batch: Batch) -> Tensor:
        triples = zip(self.layers, student.features, teacher.features, strict=True)
        return self._weight * torch.stack([layer(s, t) for layer, s, t in triples]).sum()
