"""Multi-level logit distillation: MLKD (Jin, Wang & Lin, CVPR 2023).

    L = mean over T of  T² · KL(P_T ‖ P_S)                           instances
                        + K / N² · ‖P_T P_Tᵀ - P_S P_Sᵀ‖²            batch: which images are alike
                        + K / N² · ‖P_Tᵀ P_T - P_Sᵀ P_S‖²            classes: which go together

P, (N, K), are the batch's probabilities softened by T. Knows logits only.

Followed are the paper's three levels over its five temperatures. Not followed:

- Its factors 1 / N and 1 / K of the two squared norms. At its batch of 64 over 100 classes they are
  about K / N² (two thirds and 0.4 of it), but at 128 over 10 the class level is 164 times as large,
  and a student does not learn.
- Its sum over the temperatures: a longer list would be a longer step.
- Its weak and strong view of each image: there is one view.
- Its masks of images and classes by the teacher's confidence: in the released code they multiply
  what is averaged already, which is a factor of about one half for all.
"""

from typing import Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor

from model_compression.distillation.response import ResponseMethod, log_probabilities
from model_compression.distillation.soft_targets import kd_loss
from model_compression.distillation.standardisation import standardise
from model_compression.distillation.transfer import WeightedMethod
from model_compression.images import Batch


def mlkd_loss(
    student: Tensor,
    teacher: Tensor,
    temperatures: tuple[float, ...] = (2.0, 3.0, 4.0, 5.0, 6.0),
    standardised: bool = False,
) -> Tensor:
    """The three levels, averaged over the temperatures.

    Args:
        student: Logits, shape (N, K).
        teacher: Logits, shape (N, K); no gradient goes into them.
        temperatures: Each T > 0; larger is softer.
        standardised: Compares z-scores instance by instance; the other two levels stay with the
            logits, as in the code of logit standardisation.

    Returns:
        A scalar ≥ 0; 0 where both give the same distribution.
    """
    teacher = teacher.detach()
    images, classes = student.shape
    answers = (standardise(student), standardise(teacher)) if standardised else (student, teacher)
    losses = []
    for temperature in temperatures:
        p_s = log_probabilities(student, temperature).exp()
        p_t = log_probabilities(teacher, temperature).exp()
        relations = gram_loss(p_s, p_t) + gram_loss(p_s.T, p_t.T)
        losses.append(kd_loss(*answers, temperature) + classes / images**2 * relations)
    return torch.stack(losses).mean()


def gram_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """‖T Tᵀ - S Sᵀ‖²: how far the inner products of the rows are from each other.

    Args:
        student: Shape (R, D).
        teacher: Shape (R, D).

    Returns:
        A scalar ≥ 0; it stays the same when both swap rows, or either one rotates its columns.
    """
    return (teacher @ teacher.T - student @ student.T).square().sum()


class MlkdSettings(WeightedMethod, ResponseMethod):
    """Images, batch and classes at several temperatures, beside the labels."""

    method: Literal["mlkd"]
    weight: PositiveFloat = 0.9
    """Of the method's loss."""
    labels: NonNegativeFloat = 0.1
    """Weight of the cross-entropy with the labels."""
    temperatures: tuple[PositiveFloat, ...] = Field(default=(2.0, 3.0, 4.0, 5.0, 6.0), min_length=1)
    """The loss is averaged over them."""

    def loss(self, student: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
        """Weight · ``mlkd_loss``."""
        return self.weight * mlkd_loss(student, teacher, self.temperatures, self.standardise)
