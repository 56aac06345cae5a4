"""Relational distillation: RKD (Park, Kim, Lu & Cho, CVPR 2019, sections 3.2.1 and 3.2.2).

    L_D = Σ_(i,j)   l(ψ_D(t_i, t_j), ψ_D(s_i, s_j)),            ψ_D(a, b)    = |a - b| / μ
    L_A = Σ_(i,j,k) l(ψ_A(t_i, t_j, t_k), ψ_A(s_i, s_j, s_k)),  ψ_A(a, b, c) = cos ∠abc

over distinct images of a batch; l is the Huber loss, μ the batch's mean distance. The sums are
taken as means here, as in the usual implementations, so the weights go with any batch size.

Knows embeddings only; where they come from is the objective's business.
"""

import functools
from typing import Literal, Self

import torch
from pydantic import NonNegativeFloat, PositiveFloat, model_validator
from torch import Tensor
from torch.nn import functional

from model_compression.distillation.relation import RelationTransfer, unit
from model_compression.distillation.transfer import Probe, RelationMethod, Transfer

SMALLEST_MEAN = 1e-12
"""Below it all embeddings of a batch are the same point."""


def rkd_loss(student: Tensor, teacher: Tensor, distance: float, angle: float) -> Tensor:
    """Weighted sum: distance · L_D + angle · L_A.

    Args:
        student: Embeddings, shape (N, D_s).
        teacher: Embeddings, shape (N, D_t); the widths may differ.
        distance: Weight of ``rkd_distance_loss``.
        angle: Weight of ``rkd_angle_loss``, which takes N³ memory unless it is 0.

    Returns:
        A scalar ≥ 0; 0 where both batches have the same shape up to scale.
    """
    loss = distance * rkd_distance_loss(student, teacher)
    return loss + angle * rkd_angle_loss(student, teacher) if angle else loss


def rkd_distance_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """L_D: Huber loss between the pairs' distances, each batch's divided by their mean.

    Args:
        student: Embeddings, shape (N, D_s).
        teacher: Embeddings, shape (N, D_t).

    Returns:
        A scalar ≥ 0, the mean over N(N - 1)/2 pairs; blind to each batch's scale, position and
        rotation.
    """
    apart = functional.smooth_l1_loss(
        _relative_distances(student), _relative_distances(teacher.detach()), reduction="sum"
    )
    n = len(student)
    return apart / max(n * (n - 1) // 2, 1)


def rkd_angle_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """L_A: Huber loss between the cosines of the triplets' angles.

    Args:
        student: Embeddings, shape (N, D_s).
        teacher: Embeddings, shape (N, D_t).

    Returns:
        A scalar ≥ 0, the mean over N(N - 1)(N - 2) triplets; blind to each batch's scale, position
        and rotation.
    """
    ours, theirs = _cosines(student), _cosines(teacher.detach())
    apart = functional.smooth_l1_loss(ours, theirs, reduction="sum")
    # ∠iji is no angle of three images; ∠iik and ∠ikk have a side without a direction, cosine 0.
    returns = functional.smooth_l1_loss(
        ours.diagonal(dim1=1, dim2=2), theirs.diagonal(dim1=1, dim2=2), reduction="sum"
    )
    n = len(student)
    return (apart - returns) / max(n * (n - 1) * (n - 2), 1)


def _relative_distances(embeddings: Tensor) -> Tensor:
    # pdist's gradient is 0, not 0/0, where two points coincide.
    distances = functional.pdist(embeddings.float())
    return distances / (distances.sum() / max(len(distances), 1)).clamp_min(SMALLEST_MEAN)


def _cosines(embeddings: Tensor) -> Tensor:
    """Of the angles ∠ijk, at [j, i, k]; shape (N, N, N)."""
    points = _without_empty_dimensions(embeddings.float())
    directions = unit(points[None, :] - points[:, None])
    return directions @ directions.transpose(1, 2)


def _without_empty_dimensions(points: Tensor) -> Tensor:
    """The same N points, rotated into the N dimensions that they span where D is larger.

    The gradient is right although the rotation is taken for a constant: what depends on scalar
    products alone has a gradient that lies in the points' span.
    """
    if points.shape[1] <= len(points):
        return points
    rotation, _ = torch.linalg.qr(points.detach().T)
    rotated: Tensor = points @ rotation
    return rotated


class RkdSettings(RelationMethod):
    """Distances and angles between the images of a batch."""

    method: Literal["rkd"]
    weight: PositiveFloat = 1.0
    """Of both parts; ``distance`` and ``angle`` weigh them against each other."""
    distance: NonNegativeFloat = 25.0
    angle: NonNegativeFloat = 50.0

    @model_validator(mode="after")
    def _compares_something(self) -> Self:
        if not self.distance and not self.angle:
            raise ValueError(
                "distance and angle are both 0, so nothing would be learned from the teacher: give "
                "one of them a weight, or take method: none"
            )
        return self

    def transfer(self, probe: Probe) -> Transfer:
        """Nothing to learn beside the student: the widths may differ."""
        loss = functools.partial(rkd_loss, distance=self.distance, angle=self.angle)
        return RelationTransfer(loss, self.weight)
