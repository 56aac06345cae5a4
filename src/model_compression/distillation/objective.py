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


class AnswerMemory(nn.Module):
    """A teacher's logits for a bounded number of views of each image, in float16.

    It is part of the objective's state, so a resumed training remembers what the interrupted one
    had asked.

    Args:
        views: Different views of each image, V.
        images: Training images, N.
        classes: K; the memory takes 2·V·N·K bytes.
    """

    logits: Tensor
    known: Tensor

    def __init__(self, views: int, images: int, classes: int) -> None:
        super().__init__()
        self.register_buffer("logits", torch.zeros(views, images, classes, dtype=torch.float16))
        self.register_buffer("known", torch.zeros(views, images, dtype=torch.bool))

    def recall(self, batch: Batch) -> Tensor | None:
        """The logits for ``batch``, shape (n, K), float32; ``None`` unless all are known."""
        if not self.known[batch.view, batch.indices].all():
            return None
        return self.logits[batch.view, batch.indices].float()

    def keep(self, batch: Batch, logits: Tensor) -> None:
        """Remembers ``logits`` for the images and the view of ``batch``."""
        self.logits[batch.view, batch.indices] = logits.to(torch.float16)
        self.known[batch.view, batch.indices] = True


class SoftTargets(Objective):
    """(1 - α) · cross-entropy with the labels + α · T² · KL to the teacher (Hinton, 2015)."""

    def __init__(
        self, teacher: FrozenTeacher, settings: KdSettings, memory: AnswerMemory | None = None
    ) -> None:
        super().__init__()
        self._teacher = teacher
        self._settings = settings
        self.memory = memory

    def forward(self, batch: Batch, model: nn.Module) -> LossOutput:
        """Runs teacher and student on the very same view of the images."""
        logits = model(batch.images).float()
        soft = kd_loss(logits, self._answer(batch), self._settings.temperature)
        hard = functional.cross_entropy(logits, batch.labels)
        alpha = self._settings.alpha
        return LossOutput((1.0 - alpha) * hard + alpha * soft, logits)

    def _answer(self, batch: Batch) -> Tensor:
        known = self.memory.recall(batch) if self.memory is not None else None
        if known is not None:
            return known
        answer = self._teacher.logits(batch.images)
        if self.memory is not None:
            self.memory.keep(batch, answer)
        return answer


def distillation_objective(
    method: KdSettings | LabelsOnly,
    teacher: nn.Module,
    memory: AnswerMemory | None = None,
    teacher_precision: Precision = "auto",
) -> Objective:
    """The objective of ``method`` under ``teacher``, which is frozen by this call.

    Args:
        method: What is learned from the teacher, with its settings.
        teacher: The trained network.
        memory: Where its answers are kept; ``None`` asks it at every step.
        teacher_precision: See ``FrozenTeacher``.
    """
    if isinstance(method, LabelsOnly):
        return CrossEntropy(method.label_smoothing)
    return SoftTargets(FrozenTeacher(teacher, teacher_precision), method, memory)
