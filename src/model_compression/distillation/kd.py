"""Distillation by soft targets: KD (Hinton, Vinyals & Dean, 2015, section 2).

Knows logits only; where the teacher's come from is the objective's business.
"""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat
from torch import Tensor
from torch.nn import functional

from model_compression.distillation.response import ResponseMethod
from model_compression.images import Batch


def kd_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T² · KL(softmax(teacher / T) ‖ softmax(student / T)), averaged over the batch.

    The factor T² keeps the gradient's size when T changes (section 2.1).

    Args:
        student: Logits, shape (N, K).
        teacher: Logits, shape (N, K).
        temperature: T > 0; larger is softer.

    Returns:
        A scalar ≥ 0; 0 where both give the same distribution.
    """
    divergence = functional.kl_div(
        functional.log_softmax(student / temperature, dim=1),
        functional.log_softmax(teacher / temperature, dim=1),
        log_target=True,
        reduction="batchmean",
    )
    return divergence * temperature**2


class KdSettings(ResponseMethod):
    """Soft targets at a temperature, beside the labels."""

    method: Literal["kd"]
    temperature: PositiveFloat = 4.0
    """With ``standardise``, 2 is the paper's."""
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.9
    """The soft targets' share of the loss; the labels have the rest. With ``standardise``, the
    paper's 0.1 for the labels and 9 for the soft targets are a share of 0.989."""

    @property
    def labels_weight(self) -> float:
        """1 - α."""
        return 1.0 - self.alpha

    def loss(self, student: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
        """α · ``kd_loss``."""
        soft = kd_loss(self.prepare(student), self.prepare(teacher), self.temperature)
        return self.alpha * soft
