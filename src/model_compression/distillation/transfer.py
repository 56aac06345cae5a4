"""Methods that compare what a student and its teacher show of the same images.

Knows both networks' outputs and layers; which loss is taken of them is each method's own file.
"""

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor, nn
from torch.nn import functional

from model_compression.distillation.method import (
    DistillationError,
    Method,
    Need,
    Observed,
    Pair,
)
from model_compression.distillation.soft_targets import kd_loss
from model_compression.distillation.taps import Taps
from model_compression.images import Batch
from model_compression.parameters import Parameters
from model_compression.training import LossOutput, Objective, autocast

STAGES = 3
"""How many of a network's last stages a method looks at unless it is told layers."""


class Probe(NamedTuple):
    """What both networks show of black images: the shapes that projections have to match."""

    student: Observed
    teacher: Observed
    labels: Tensor
    """Of all training images, int64, (N,)."""


class Transfer(nn.Module, ABC):
    """A loss between what the student and its teacher show of the same images.

    What it learns (projections) are its parameters; they are trained with the student and are not
    in the file.
    """

    @abstractmethod
    def forward(self, student: Observed, teacher: Observed, batch: Batch) -> Tensor:
        """A scalar; its gradient goes into the student and the parameters, not the teacher."""


class TransferMethod(Method, ABC):
    """A loss with the labels plus a ``Transfer``."""

    needs: ClassVar[Need] = Need.LOGITS
    same_classes: ClassVar[bool] = True
    """Whether teacher and student must know the same classes, where logits are compared."""

    @property
    def asks_several(self) -> bool:
        """Where it needs no more than logits."""
        return self.needs is Need.LOGITS

    @property
    @abstractmethod
    def labels_weight(self) -> float:
        """Weight of the cross-entropy with the labels."""

    @abstractmethod
    def transfer(self, probe: Probe) -> Transfer:
        """The loss, with projections for these shapes; its weights are already in it."""

    def objective(self, pair: Pair) -> Objective:
        """Cross-entropy and the transfer, on the very same view of the images."""
        return TransferObjective(self, pair)


class SoftTargets(Parameters):
    """Hinton's soft targets, added to a method: T² · KL(teacher ‖ student), weighted."""

    temperature: PositiveFloat = 4.0
    weight: PositiveFloat = 0.9


class WeightedMethod(TransferMethod, ABC):
    """labels · cross-entropy + weight · the method's loss (+ soft targets)."""

    weight: PositiveFloat
    """Of the method's loss."""
    labels: NonNegativeFloat = 1.0
    """Weight of the cross-entropy with the labels."""
    soft_targets: SoftTargets | None = None
    """Adds Hinton's soft targets; ``null`` for none."""

    @property
    def labels_weight(self) -> float:
        """As set."""
        return self.labels


class FeatureMethod(WeightedMethod, ABC):
    """Learns from maps in the middle of the teacher."""

    needs: ClassVar[Need] = Need.FEATURES

    student_layers: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Module paths, from the input towards the output; ``null``: the last layer at each of the last
    three sizes of map."""
    teacher_layers: tuple[str, ...] | None = Field(default=None, min_length=1)
    """As many; ``null``: likewise."""


class RelationMethod(WeightedMethod, ABC):
    """Learns how the teacher's embeddings of a batch lie to each other."""

    needs: ClassVar[Need] = Need.EMBEDDING


class TransferObjective(Objective):
    """Cross-entropy with the labels and what a method transfers, on the same view of the images.

    Its parameters are the method's projections.

    Raises:
        DistillationError: If the method does not go with this pair.
    """

    def __init__(self, method: TransferMethod, pair: Pair) -> None:
        super().__init__()
        self._method = method
        self._teacher = pair.teacher
        self._soft_targets = method.soft_targets if isinstance(method, WeightedMethod) else None
        _check_classes(method, pair, self._soft_targets)
        self._taps, shown = _look(method, pair)
        self._asks_live = method.needs is not Need.LOGITS
        self.reads_logits_alone = method.needs is Need.LOGITS
        self.transfer = method.transfer(Probe(self._taps.probe(), shown, pair.labels))

    def forward(self, batch: Batch, model: nn.Module) -> LossOutput:
        """Runs student and teacher, and adds up the losses in float32."""
        student = self._taps.observe(model, batch.images)
        if self._asks_live:
            teacher = self._teacher.observe(batch)
        else:
            teacher = Observed(self._teacher.logits(batch))
        with autocast(torch.float32, batch.images.device):
            loss: Tensor = self.transfer(student, teacher, batch)
            if self._method.labels_weight:
                hard = functional.cross_entropy(student.logits, batch.labels)
                loss = loss + self._method.labels_weight * hard
            if self._soft_targets is not None:
                soft = kd_loss(student.logits, teacher.logits, self._soft_targets.temperature)
                loss = loss + self._soft_targets.weight * soft
        return LossOutput(loss, student.logits)


def _look(method: TransferMethod, pair: Pair) -> tuple[Taps, Observed]:
    """Pairs layers of student and teacher; the student's taps and the teacher's probe."""
    student_layers = teacher_layers = None
    if isinstance(method, FeatureMethod):
        student_layers, teacher_layers = method.student_layers, method.teacher_layers
    if student_layers and teacher_layers and len(student_layers) != len(teacher_layers):
        raise DistillationError(
            f"{method.method} compares layers one by one, but student_layers names "
            f"{len(student_layers)} and teacher_layers {len(teacher_layers)}: name as many"
        )
    shape = pair.spec.input_shape

    def look(count: int) -> Taps:
        return Taps(pair.student, shape, method.needs, student_layers, count)

    taps = look(len(teacher_layers) if teacher_layers else STAGES)
    shown = pair.teacher.watch(method.needs, teacher_layers, len(taps.layers))
    if len(shown.features) < len(taps.layers) and not student_layers:
        taps = look(len(shown.features))
    if method.needs in (Need.FEATURES, Need.PREACTIVATIONS):
        seen = len(taps.layers)
        if seen != len(shown.features):
            raise DistillationError(
                f"{method.method} compares layers one by one, but sees {seen} of the student "
                f"({', '.join(taps.layers)}) and {len(shown.features)} of the teacher: name fewer "
                "in student_layers or teacher_layers"
            )
    return taps, shown


def _check_classes(method: TransferMethod, pair: Pair, soft_targets: SoftTargets | None) -> None:
    reads_logits = method.needs is Need.LOGITS or soft_targets is not None
    if reads_logits and method.same_classes and pair.teacher.classes != pair.spec.classes:
        raise DistillationError(
            f"{method.method} compares logits class by class, but the teacher knows "
            f"{pair.teacher.classes} classes and the student {pair.spec.classes}: distil from a "
            "teacher of the same classes, or take lwf to add new ones"
        )
