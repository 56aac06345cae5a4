"""Correlation congruence: CC (Peng et al., ICCV 2019, section 3).

    L = 1/N² · Σ_ij (k(t_i, t_j) - k(s_i, s_j))²,   k(a, b) = exp(-γ |a - b|²), |a| = |b| = 1
      ≈ Σ_(p=0..P) exp(-2γ) (2γ)^p / p! · (a·b)^p

A widely copied implementation multiplies the differences of neighbouring images instead, for which
both embeddings must have one width; this is the paper's Gaussian kernel and its Taylor series,
which takes any widths. So nothing is learned beside the student: a learned projection of the
teacher would reach L = 0 by making all of its images alike, and a learned projection of the student
alone would take the teacher's correlations over in the student's place.

Knows embeddings only; where they come from is the objective's business.
"""

import functools
import math
from typing import Literal

from pydantic import PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn import functional

from model_compression.distillation.relation import RelationTransfer, unit
from model_compression.distillation.transfer import Probe, RelationMethod, Transfer


def cc_loss(student: Tensor, teacher: Tensor, gamma: float, order: int) -> Tensor:
    """Mean squared difference between the correlations of the images of a batch.

    Args:
        student: Embeddings, shape (N, D_s).
        teacher: Embeddings, shape (N, D_t); the widths may differ.
        gamma: γ > 0 of the kernel; larger is narrower.
        order: P ≥ 1, where its Taylor series ends.

    Returns:
        A scalar ≥ 0; 0 where all angles between embeddings are the same, and blind to each
        embedding's length and each batch's rotation.
    """
    return functional.mse_loss(
        _correlations(student, gamma, order), _correlations(teacher.detach(), gamma, order)
    )


def _correlations(embeddings: Tensor, gamma: float, order: int) -> Tensor:
    directions = unit(embeddings.float())
    twice = 2.0 * gamma * (directions @ directions.T)
    # Σ_p x^p / p!, from the inside out.
    series = 1.0 + twice / order
    for power in range(order - 1, 0, -1):
        series = 1.0 + twice / power * series
    return math.exp(-2.0 * gamma) * series


class CcSettings(RelationMethod):
    """The correlation between the images of a batch."""

    method: Literal["cc"]
    weight: PositiveFloat = 100.0
    gamma: PositiveFloat = 0.4
    """Of the Gaussian kernel."""
    order: PositiveInt = 2
    """Of its Taylor series."""

    def transfer(self, probe: Probe) -> Transfer:
        """Nothing to learn beside the student: the widths may differ."""
        loss = functools.partial(cc_loss, gamma=self.gamma, order=self.order)
        return RelationTransfer(loss, self.weight)
