"""Decoupled distillation: DKD (Zhao et al., "Decoupled Knowledge Distillation", CVPR 2022).

    KD  = KL(b_T ‖ b_S) + (1 - p_T) · KL(q_T ‖ q_S)
    DKD = α · KL(b_T ‖ b_S) + β · KL(q_T ‖ q_S)

b = (p, 1 - p) is the labelled class against all others, q the distribution over the others alone.
KD hushes what the teacher says of the other classes (the second part) where it is sure of the
labelled one; DKD weighs the two parts by themselves. Knows logits and labels only.
"""

from typing import Literal

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat
from torch import Tensor
from torch.nn import functional

from model_compression.distillation.method import ramp
from model_compression.distillation.response import ResponseMethod, log_probabilities
from model_compression.distillation.transfer import WeightedMethod
from model_compression.images import Batch


def dkd_loss(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    temperature: float,
    alpha: float = 1.0,
    beta: float = 2.0,
) -> Tensor:
    """T² · (α · target-class part + β · non-target-class part), averaged over the batch.

    Args:
        student: Logits, shape (N, K), K ≥ 2.
        teacher: Logits, shape (N, K); no gradient goes into them.
        labels: The images' classes, int64, shape (N,).
        temperature: T > 0; larger is softer.
        alpha: Weight of KL(b_T ‖ b_S).
        beta: Weight of KL(q_T ‖ q_S).

    Returns:
        A scalar ≥ 0; 0 where both give the same distribution.
    """
    log_b_s, log_q_s = _decouple(log_probabilities(student, temperature), labels)
    log_b_t, log_q_t = _decouple(log_probabilities(teacher.detach(), temperature), labels)
    target_part, other_part = _divergence(log_b_t, log_b_s), _divergence(log_q_t, log_q_s)
    return temperature**2 * (alpha * target_part + beta * other_part)


def _decouple(log_p: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Logarithms of b, shape (N, 2), and of q, shape (N, K - 1)."""
    target = log_p.gather(1, labels[:, None])
    columns = torch.arange(log_p.shape[1] - 1, device=log_p.device)
    others = log_p.gather(1, columns + (columns >= labels[:, None]))
    # In logarithms throughout: 1 - p is 0 in floating point where a network is sure.
    rest = others.logsumexp(dim=1, keepdim=True)
    return torch.cat([target, rest], dim=1), others - rest


def _divergence(log_teacher: Tensor, log_student: Tensor) -> Tensor:
    return functional.kl_div(log_student, log_teacher, log_target=True, reduction="batchmean")


class DkdSettings(WeightedMethod, ResponseMethod):
    """The labelled class and the others, each by itself, beside the labels."""

    method: Literal["dkd"]
    weight: PositiveFloat = 1.0
    """Of the method's loss."""
    temperature: PositiveFloat = 4.0
    alpha: NonNegativeFloat = 1.0
    """Weight of the target-class part."""
    beta: NonNegativeFloat = 2.0
    """Weight of the non-target-class part. On CIFAR-100 the authors' code has 2 for the narrow
    ResNets that this project's defaults are like, 6 or 8 for wider networks, whose teachers are
    surer; on ImageNet 0.5 to 2."""
    warmup_epochs: NonNegativeInt = 0
    """Epochs over which the loss grows to its weight; 0 and 1 for none. The paper's are 20 of 240;
    a large ``beta`` needs some."""

    @property
    def is_mean_over_images(self) -> bool:
        """It is."""
        return True

    def loss(self, student: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
        """Ramp · weight · ``dkd_loss``."""
        loss = dkd_loss(
            self.prepare(student),
            self.prepare(teacher),
            batch.labels,
            self.temperature,
            self.alpha,
            self.beta,
        )
        return ramp(batch.epoch, self.warmup_epochs) * self.weight * loss
