"""Distillation of relations: DIST (Huang et al., NeurIPS 2022, "... from A Stronger Teacher").

    L = β · mean over images of (1 - ρ(S_i, T_i)) + γ · mean over classes of (1 - ρ(S_k, T_k))

S and T, (N, K), are the batch's softened probabilities; ρ is Pearson's correlation, of an image's
row (how the classes relate) or of a class's column (how the images do). Neither changes when one
side's rows, or columns, are scaled or shifted, so a student need not be as sure as a strong teacher
is. Knows logits only.
"""

from typing import Literal

from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor
from torch.nn import functional

from model_compression.distillation.response import ResponseMethod, log_probabilities
from model_compression.distillation.transfer import WeightedMethod
from model_compression.images import Batch


def relation_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """1 - Pearson's correlation of each pair of rows, averaged over the rows.

    Args:
        student: Shape (R, D).
        teacher: Shape (R, D).

    Returns:
        A scalar between 0 and 2; 0 where the rows agree up to a positive scale and a shift. A row
        that does not vary is correlated with nothing and counts as 1.
    """
    return (
        1.0
        - functional.cosine_similarity(
            student - student.mean(dim=1, keepdim=True),
            teacher - teacher.mean(dim=1, keepdim=True),
            dim=1,
        ).mean()
    )


def dist_loss(
    student: Tensor, teacher: Tensor, temperature: float, beta: float = 1.0, gamma: float = 1.0
) -> Tensor:
    """T² · (β · inter-class relation + γ · intra-class relation).

    The factor T² is the authors' code's, as in KD.

    Args:
        student: Logits, shape (N, K).
        teacher: Logits, shape (N, K); no gradient goes into them.
        temperature: T > 0; larger is softer.
        beta: Weight of the relation between the classes of an image.
        gamma: Weight of the relation between the images of a class; a batch of one has none.

    Returns:
        A scalar ≥ 0; 0 where both give the same distribution.
    """
    p_s = log_probabilities(student, temperature).exp()
    p_t = log_probabilities(teacher.detach(), temperature).exp()
    inter, intra = relation_loss(p_s, p_t), relation_loss(p_s.T, p_t.T)
    return temperature**2 * (beta * inter + gamma * intra)


class DistSettings(WeightedMethod, ResponseMethod):
    """Correlations of the softened probabilities, beside the labels."""

    method: Literal["dist"]
    weight: PositiveFloat = 2.0
    """Of the method's loss."""
    temperature: PositiveFloat = 4.0
    beta: NonNegativeFloat = 1.0
    """Weight of the relation between the classes of an image."""
    gamma: NonNegativeFloat = 1.0
    """Weight of the relation between the images of a class."""

    @property
    def is_mean_over_images(self) -> bool:
        """Without the relation between the images of a class."""
        return self.gamma == 0

    def loss(self, student: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
        """Weight · ``dist_loss``."""
        return self.weight * dist_loss(
            self.prepare(student), self.prepare(teacher), self.temperature, self.beta, self.gamma
        )
