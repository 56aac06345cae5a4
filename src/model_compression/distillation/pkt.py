"""Probabilistic knowledge transfer: PKT (Passalis & Tefas, ECCV 2018, section 3).

    p_(j|i) = K(t_i, t_j) / Σ_(k≠i) K(t_i, t_k),   K(a, b) = (cos(a, b) + 1) / 2
    L       = Σ_i Σ_(j≠i) p_(j|i) log(p_(j|i) / q_(j|i)),   q likewise of the student

The sum over the images i is a mean here. The authors' later code, and those made from it, keep
j = i and divide by N once more: a weight of theirs is this one times the batch size.

Knows embeddings only; where they come from is the objective's business.
"""

from typing import Literal

import torch
from pydantic import PositiveFloat
from torch import Tensor

from model_compression.distillation.relation import RelationTransfer, unit
from model_compression.distillation.transfer import Probe, RelationMethod, Transfer

SMALLEST_KERNEL = 1e-6
"""Opposite embeddings would have a probability of 0 and an infinite divergence."""


def pkt_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(p ‖ q) of the probabilities that an image has another one as its neighbour.

    Args:
        student: Embeddings, shape (N, D_s).
        teacher: Embeddings, shape (N, D_t); the widths may differ.

    Returns:
        A scalar ≥ 0, the mean over N images; 0 where all angles between embeddings are the same,
        and blind to each embedding's length and each batch's rotation.
    """
    log_q = _log_probabilities(student)
    log_p = _log_probabilities(teacher.detach())
    divergence = (log_p.exp() * (log_p - log_q)).masked_fill(_same(log_p), 0.0)
    return divergence.sum() / len(student)


def _log_probabilities(embeddings: Tensor) -> Tensor:
    """Logarithms of p_(j|i) at [i, j]; without meaning on the diagonal."""
    directions = unit(embeddings.float())
    kernel = ((directions @ directions.T + 1.0) / 2.0).clamp_min(SMALLEST_KERNEL)
    others = kernel.masked_fill(_same(kernel), 0.0).sum(dim=1, keepdim=True)
    return kernel.log() - others.clamp_min(SMALLEST_KERNEL).log()


def _same(matrix: Tensor) -> Tensor:
    return torch.eye(len(matrix), dtype=torch.bool, device=matrix.device)


class PktSettings(RelationMethod):
    """The probability that the images of a batch are neighbours."""

    method: Literal["pkt"]
    weight: PositiveFloat = 470.0
    """The usual 30000 at a batch size of 64, for a mean over N images instead of N² pairs."""

    def transfer(self, probe: Probe) -> Transfer:
        """Nothing to learn beside the student: the widths may differ."""
        return RelationTransfer(pkt_loss, self.weight)
