"""What every stage that learns from a teacher has in common."""

from typing import Self

from pydantic import model_validator

from model_compression.distillation import Combination, DistillationMethod
from model_compression.parameters import Parameters
from model_compression.training import TrainingSettings


class LearningParameters(Parameters):
    """What is learned, from whom, and how the network is trained."""

    distillation: DistillationMethod
    more_teachers: Combination | None = None
    """How the answers of the checkpoints in the folder ``more_teachers`` are combined with the
    teacher's; ``null``: they are not asked."""
    training: TrainingSettings

    def why_not_shared(self) -> str | None:
        """Why several processes can't train this stage together; ``None`` if they can."""
        return self.distillation.why_not_shared()

    @model_validator(mode="after")
    def _further_teachers_can_be_asked(self) -> Self:
        if self.more_teachers is not None and not self.distillation.asks_several:
            raise ValueError(
                f"more_teachers is {self.more_teachers!r}, but {self.distillation.method} can't "
                "learn from several teachers: take a method that learns from logits (kd, dkd, "
                "dist, mlkd), or set more_teachers to null"
            )
        return self
