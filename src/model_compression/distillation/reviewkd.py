"""Distillation across levels: ReviewKD (Chen et al., "Knowledge Review", CVPR 2021, section 3).

Each of the teacher's maps is learned from the student's map at that level and all deeper ones.
From the output towards the input, attention-based fusion (ABF) mixes a level with what was fused
so far,

    A_i = z₁ · f_i + z₂ · up(A_i+1),  (z₁, z₂) = sigmoid(conv1x1([f_i, up(A_i+1)])),

where f_i is a 1x1 convolution of the student's map, and a 3x3 convolution of A_i has to give the
teacher's map under the hierarchical context loss (HCL), the squared difference at several sizes.
Both networks show their layers' outputs here; the authors' code takes the teacher's before their
ReLU, and its pooled features as one more level (HCL's smallest size looks at those of the deepest
map here).

Knows maps; the levels are in the order of the network.
"""

from typing import Literal

import torch
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from model_compression.distillation.maps import same_size
from model_compression.distillation.method import Observed, ramp
from model_compression.distillation.transfer import FeatureMethod, Probe, Transfer
from model_compression.images import Batch
from model_compression.models.initialisation import initialise_convolutions

_SIZES = (4, 2, 1)


def hcl_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Σ_l w_l · MSE_l / Σ_l w_l over maps pooled to their own size, 4x4, 2x2 and 1x1.

    w is 1 at the maps' own size and halves from size to size; sizes that are not smaller than the
    maps are left out.

    Args:
        student: (N, C, H, W).
        teacher: The same shape.

    Returns:
        A scalar ≥ 0; 0 where both are the same.
    """
    student, teacher = same_size(student, teacher)
    difference = student - teacher
    height, width = difference.shape[2:]
    losses = [difference.square().mean()]
    for size in _SIZES:
        if size < max(height, width):
            # Pooling is linear: the difference is pooled once instead of both maps.
            smaller = (min(size, height), min(size, width))
            losses.append(functional.adaptive_avg_pool2d(difference, smaller).square().mean())
    weights = [0.5**level for level in range(len(losses))]
    terms = [weight * loss for weight, loss in zip(weights, losses, strict=True)]
    return torch.stack(terms).sum() / sum(weights)


class ReviewKdSettings(FeatureMethod):
    """The student's same and all deeper levels together give each of the teacher's."""

    method: Literal["reviewkd"]
    weight: PositiveFloat = 1.0
    """Of the sum over the levels; the authors take 0.6 to 8, from network to network."""
    warmup_epochs: NonNegativeInt = 3
    """Over which the weight grows to its full size (the authors' 20 of 240 epochs)."""
    mid_channels: PositiveInt = 32
    """Channels in which levels are fused, the cost's main dial: at 28x28 pixels, three levels take
    7 million multiply-accumulates an image with 32 and 14 with 64 (the authors' for small
    networks), and a ResNet-8 itself 9."""

    @property
    def is_mean_over_images(self) -> bool:
        """It is."""
        return True

    def transfer(self, probe: Probe) -> Transfer:
        """Made for the channels of the observed layers."""
        pairs = zip(probe.student.features, probe.teacher.features, strict=True)
        return _Review([(s.shape[1], t.shape[1]) for s, t in pairs], self)


class AttentionFusion(nn.Module):
    """ABF: mixes a level with what was fused of the deeper ones, place by place.

    Args:
        inputs: The student's channels at this level.
        mid: Channels of what is fused.
        deepest: There is nothing deeper to mix with.
    """

    def __init__(self, inputs: int, mid: int, *, deepest: bool) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.Conv2d(inputs, mid, 1, bias=False), nn.BatchNorm2d(mid))
        initialise_convolutions(self.project)
        # The 1x1 convolution of both maps stacked, as the sum of one of each: it commutes with the
        # enlarging, so the deeper map is convolved while it is small and nothing is stacked. Their
        # initialisation is PyTorch's own: Kaiming's fan-out of 2 would saturate the sigmoid.
        self.own = None if deepest else nn.Conv2d(mid, 2, 1)
        self.others = None if deepest else nn.Conv2d(mid, 2, 1, bias=False)

    def forward(self, level: Tensor, deeper: Tensor | None) -> Tensor:
        """(N, inputs, H, W) and (N, mid, h, w), ``None`` for the deepest, to (N, mid, H, W)."""
        level = self.project(level)
        if self.own is None or self.others is None or deeper is None:
            return level
        size = level.shape[2:]
        scores = self.own(level) + functional.interpolate(self.others(deeper), size)
        own, others = scores.sigmoid().chunk(2, dim=1)
        fused: Tensor = own * level + others * functional.interpolate(deeper, size)
        return fused


class _Review(Transfer):
    def __init__(self, channels: list[tuple[int, int]], settings: ReviewKdSettings) -> None:
        super().__init__()
        self._settings = settings
        mid = settings.mid_channels
        last = len(channels) - 1
        self.fusions = nn.ModuleList(
            AttentionFusion(student, mid, deepest=index == last)
            for index, (student, _) in enumerate(channels)
        )
        self.outputs = nn.ModuleList(_output(mid, teacher) for _, teacher in channels)

    def forward(self, student: Observed, teacher: Observed, batch: Batch) -> Tensor:
        fused: Tensor | None = None
        losses = []
        levels = zip(self.fusions, self.outputs, student.features, teacher.features, strict=True)
        for fusion, output, own, target in reversed(list(levels)):
            fused = fusion(own, fused)
            # Pooled first, where the teacher's map is smaller: the 3x3 convolution is the cost.
            reviewed, pooled = same_size(fused, target)
            losses.append(hcl_loss(output(reviewed), pooled))
        weight = self._settings.weight * ramp(batch.epoch, self._settings.warmup_epochs)
        return weight * torch.stack(losses).sum()


def _output(mid: int, teacher: int) -> nn.Sequential:
    layers = nn.Sequential(
        nn.Conv2d(mid, teacher, 3, padding=1, bias=False), nn.BatchNorm2d(teacher)
    )
    initialise_convolutions(layers)
    return layers
