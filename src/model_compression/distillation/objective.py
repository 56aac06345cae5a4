"""Learning from a frozen teacher and the labels, as an objective of the training loop.

Knows a teacher and a method; not which stage is trained.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from model_compression.distillation.kd import KdSettings, kd_loss
from model_compression.images import Batch
from model_compression.parameters import Parameters
from model_compression.training import (
    CrossEntropy,
    LossOutput,
    Objective,
    Precision,
    autocast,
    place,
    resolve_precision,
)


class LabelsOnly(Parameters):
    """No teacher: the control that every distillation is to be compared with."""

    method: Literal["none"]
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0


DistillationMethod = Annotated[KdSettings | LabelsOnly, Field(discriminator="method")]
"""A choice of method by its ``method:``."""


class FrozenTeacher:
    """A network that only answers: in eval mode, without gradients, never moved to train mode.

    It is deliberately no ``nn.Module``, so that an objective that holds one neither optimises it
    nor stores it.

    Args:
        module: The trained network.
        precision: In which it answers, whatever its student is trained in: a student that needs
            float32 for its quantization grid need not wait for a teacher in float32.
    """

    def __init__(self, module: nn.Module, precision: Precision = "auto") -> None:
        self._precision: Precision = precision
        self._module = module.eval().requires_grad_(requires_grad=False)
        self._placed_for: tuple[torch.device, bool] | None = None

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """The teacher's logits, shape (N, K), float32, on the device and layout of ``images``."""
        channels_last = images.is_contiguous(memory_format=torch.channels_last)
        if self._placed_for != (images.device, channels_last):
            place(self._module, images.device, channels_last)
            self._placed_for = (images.device, channels_last)
        with autocast(resolve_precision(self._precision, images.device), images.device):
            logits: Tensor = self._module(images)
        return logits.float()


class SoftTargets(Objective):
    """(1 - α) · cross-entropy with the labels + α · T² · KL to the teacher (Hinton, 2015)."""

    def __init__(self, teacher: FrozenTeacher, settings: KdSettings) -> None:
        super().__init__()
        self._teacher = teacher
        self._settings = settings

    def forward(self, batch: Batch, model: nn.Module) -> LossOutput:
        """Runs teacher and student on the very same view of the images."""
        logits = model(batch.images).float()
        soft = kd_loss(logits, self._teacher.logits(batch.images), self._settings.temperature)
        hard = functional.cross_entropy(logits, batch.labels)
        alpha = self._settings.alpha
        return LossOutput((1.0 - alpha) * hard + alpha * soft, logits)


def distillation_objective(
    method: KdSettings | LabelsOnly, teacher: nn.Module, teacher_precision: Precision = "auto"
) -> Objective:
    """The objective of ``method`` under ``teacher``, which is frozen by this call."""
    if isinstance(method, LabelsOnly):
        return CrossEntropy(method.label_smoothing)
    return SoftTargets(FrozenTeacher(teacher, teacher_precision), method)
