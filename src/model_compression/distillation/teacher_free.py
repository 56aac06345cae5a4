"""Distillation without a teacher: Tf-KD_reg (Yuan et al., CVPR 2020, eq. 9).

    L = (1 - α) · cross-entropy with the labels + α · T² · KL(u_T ‖ p_T)

u is a virtual teacher: it gives the right class the probability a and shares the rest out evenly.
The control that tells what a teacher knows from what soft targets do by themselves.

Both sides are softened by T, and T² keeps the gradient's size, so this is KD under a teacher whose
logits are log u. The authors' code for CIFAR-100 differs: it softens u by softmax(u / T), does not
soften the student and has no T², which comes to label smoothing by α.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor, nn
from torch.nn import functional

from model_compression.distillation.method import Method, Pair
from model_compression.distillation.soft_targets import kd_loss
from model_compression.images import Batch
from model_compression.training import LossOutput, Objective


def virtual_teacher(labels: Tensor, classes: int, probability: float) -> Tensor:
    """The logarithm of u: a for the labelled class, (1 - a) / (K - 1) for each other.

    Args:
        labels: The images' classes, int64, shape (N,).
        classes: K ≥ 2.
        probability: a, between 0 and 1.

    Returns:
        Logits, shape (N, K), float32.
    """
    right = functional.one_hot(labels, classes).float()
    return torch.log(right * probability + (1.0 - right) * (1.0 - probability) / (classes - 1))


def teacher_free_loss(
    student: Tensor, labels: Tensor, temperature: float, probability: float
) -> Tensor:
    """``kd_loss`` under the virtual teacher.

    Args:
        student: Logits, shape (N, K), K ≥ 2.
        labels: The images' classes, int64, shape (N,).
        temperature: T > 0; larger is softer.
        probability: What the virtual teacher gives the labelled class, between 0 and 1.

    Returns:
        A scalar ≥ 0; 0 where the student's probabilities are the virtual teacher's.
    """
    return kd_loss(
        student.float(), virtual_teacher(labels, student.shape[1], probability), temperature
    )


class TeacherFree(Objective):
    """(1 - α) · cross-entropy + α · ``teacher_free_loss``; there is nobody to ask."""

    def __init__(self, temperature: float, probability: float, alpha: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.probability = probability
        self.alpha = alpha

    reads_logits_alone = True

    def forward(self, batch: Batch, model: nn.Module) -> LossOutput:
        """Runs the student on the images."""
        logits = model(batch.images).float()
        hard = functional.cross_entropy(logits, batch.labels)
        soft = teacher_free_loss(logits, batch.labels, self.temperature, self.probability)
        return LossOutput((1.0 - self.alpha) * hard + self.alpha * soft, logits)


class TeacherFreeSettings(Method):
    """A virtual teacher, right about every image: the control for soft targets as such."""

    asks_teacher = False

    method: Literal["teacher_free"]
    temperature: PositiveFloat = 20.0
    probability: Annotated[float, Field(gt=0, lt=1)] = 0.99
    """What the virtual teacher gives the right class; the others share the rest."""
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.1
    """The virtual teacher's share of the loss; the labels have the rest."""

    @property
    def is_mean_over_images(self) -> bool:
        """It is."""
        return True

    def objective(self, pair: Pair) -> Objective:
        """Never asks the pair's teacher."""
        return TeacherFree(self.temperature, self.probability, self.alpha)
