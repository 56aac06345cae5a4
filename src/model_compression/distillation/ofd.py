"""Distillation before the activation function: OFD (Heo et al., ICCV 2019, eq. 2-5).

"A Comprehensive Overhaul of Feature Distillation":

    d_p( σ_m(F_T), r(F_S) ),  σ_m(x) = max(x, m),  m_c = E[ F_T | F_T < 0 ] in channel c,
    d_p(T, S) = Σ { 0 where S ≤ T ≤ 0;  (T - S)² elsewhere }

F are pre-activations; r is a 1x1 convolution with batch norm. Where the teacher's ReLU gives
nothing, the student only has to be as negative as the margin m: how much more is free.

Two things differ from the paper. It computes m from the weights of the batch norm before the ReLU;
here it is measured, over the first epoch, so that the teacher may be any network. And d_p is
averaged, not summed: with the authors' factors (10⁻³ for CIFAR and ½ for each layer further from
the output) their sum over C·H·W weighs every layer of a network that halves its maps' sides and
doubles its channels the same, about 3 (ResNet-20) to 16 (ResNet-32x4) times the average.

Knows maps, point by point, and on which side of zero they are.
"""

from typing import Literal

import torch
from pydantic import PositiveFloat
from torch import Tensor, nn

from model_compression.distillation.maps import at_least_float32, same_size
from model_compression.distillation.method import Need, Observed
from model_compression.distillation.transfer import FeatureMethod, Probe, Transfer
from model_compression.images import Batch
from model_compression.models.initialisation import initialise_convolutions


def ofd_loss(student: Tensor, teacher: Tensor, margin: Tensor) -> Tensor:
    """The partial squared distance, averaged over images, channels and positions.

    Args:
        student: Pre-activations after the connector r, shape (N, C, H, W).
        teacher: Pre-activations, the same shape.
        margin: m ≤ 0, shape (C,).

    Returns:
        A scalar ≥ 0; 0 where positive responses are the same and all others are at most the
        teacher's, or at most the margin where the teacher's are below it.
    """
    student, teacher = same_size(student, teacher)
    target = teacher.maximum(at_least_float32(margin)[:, None, None])
    free = (student <= target) & (target <= 0)
    return (student - target).masked_fill(free, 0.0).square().mean()


class OfdSettings(FeatureMethod):
    """The student responds as its teacher does, and is as negative where the teacher is silent."""

    needs = Need.PREACTIVATIONS

    method: Literal["ofd"]
    weight: PositiveFloat = 5.0
    """Of the sum over the layers."""

    def transfer(self, probe: Probe) -> Transfer:
        """Made for the channels of the observed layers."""
        pairs = zip(probe.student.features, probe.teacher.features, strict=True)
        return _Overhaul([(s.shape[1], t.shape[1]) for s, t in pairs], self.weight)


class _Layer(nn.Module):
    negatives: Tensor
    count: Tensor

    def __init__(self, student: int, teacher: int) -> None:
        super().__init__()
        self.connector = nn.Sequential(
            nn.Conv2d(student, teacher, 1, bias=False), nn.BatchNorm2d(teacher)
        )
        initialise_convolutions(self.connector)
        self.register_buffer("negatives", torch.zeros(teacher))
        self.register_buffer("count", torch.zeros(teacher))

    def forward(self, student: Tensor, teacher: Tensor, *, measure: bool) -> Tensor:
        student, teacher = same_size(student, teacher)
        if measure:
            self.negatives += teacher.clamp(max=0).sum((0, 2, 3))
            self.count += (teacher < 0).sum((0, 2, 3))
        # A channel that was never negative has the margin 0.
        margin = self.negatives / self.count.clamp(min=1)
        return ofd_loss(self.connector(student), teacher, margin)


class _Overhaul(Transfer):
    def __init__(self, channels: list[tuple[int, int]], weight: float) -> None:
        super().__init__()
        self._weight = weight
        self.layers = nn.ModuleList(_Layer(*pair) for pair in channels)

    def forward(self, student: Observed, teacher: Observed, batch: Batch) -> Tensor:
        # One epoch shows every image, and a margin that no longer moves is a fixed target.
        measure = self.training and batch.epoch == 0
        triples = zip(self.layers, student.features, teacher.features, strict=True)
        losses = [layer(s, t, measure=measure) for layer, s, t in triples]
        return self._weight * torch.stack(losses).sum()
