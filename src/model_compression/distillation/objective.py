"""Learning from a teacher and the labels, as an objective of the training loop.

Knows a teacher, a student and a method; not which stage is trained.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from model_compression.distillation.kd import kd_loss
from model_compression.distillation.method import (
    DistillationError,
    FeatureMethod,
    Need,
    Observed,
    Pair,
    Probe,
    SoftTargets,
    TransferMethod,
    WeightedMethod,
)
from model_compression.distillation.taps import Taps
from model_compression.images import Batch
from model_compression.training import LossOutput, Objective, autocast

STAGES = 3
"""How many of a network's last stages a method looks at unless it is told layers."""


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
