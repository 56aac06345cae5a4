"""Learning from the labels alone: the control that every distillation is to be compared with.

Knows no teacher.
"""

from typing import Annotated, Literal

from pydantic import Field

from model_compression.distillation.method import Method, Pair
from model_compression.training import CrossEntropy, Objective


class LabelsOnly(Method):
    """No teacher: the control that every distillation is to be compared with."""

    asks_teacher = False

    method: Literal["none"]
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @property
    def is_mean_over_images(self) -> bool:
        """It is."""
        return True

    def objective(self, pair: Pair) -> Objective:
        """Cross-entropy; never asks the pair's teacher."""
        return CrossEntropy(self.label_smoothing)
