"""Distillation by soft targets: KD (Hinton, Vinyals & Dean, "Distilling the Knowledge ...", 2015).

    L = (1 - α) · cross-entropy with the labels + α · T² · KL(teacher ‖ student)  at temperature T

Knows logits only; where the teacher's come from is the objective's business.
"""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat
from torch import Tensor

from model_compression.distillation.response import ResponseMethod
from model_compression.distillation.soft_targets import kd_loss
from model_compression.images import Batch


class KdSettings(ResponseMethod):
    """Soft targets at a temperature, beside the labels."""

    method: Literal["kd"]
    temperature: PositiveFloat = 4.0
    """With ``standardise``, 2 is the paper's."""
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.9
    """The soft targets' share of the loss; the labels have the rest. With ``standardise``, the
    paper's 0.1 for the labels and 9 for the soft targets are a share of 0.989."""

    @property
    def is_mean_over_images(self) -> bool:
        """It is."""
        return True

    @property
    def labels_weight(self) -> float:
        """1 - α."""
        return 1.0 - self.alpha

    def loss(self, student: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
        """α · ``kd_loss``."""
        soft = kd_loss(self.prepare(student), self.prepare(teacher), self.temperature)
        return self.alpha * soft
