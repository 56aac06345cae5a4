"""Learning without forgetting: LwF (Li & Hoiem, ECCV 2016, equations 1-4 and figure 3).

A network that knows some classes learns further ones from images of the further ones alone, and
what it used to say of these images holds it to the old ones. The paper's warm-up, in which the new
rows of the head are trained alone, is left out. Knows logits, and that the old classes
come first; who widens the network is its caller's business.
"""

from typing import ClassVar, Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor
from torch.nn import functional

from model_compression.distillation.method import DistillationError, Observed
from model_compression.distillation.soft_targets import kd_loss
from model_compression.distillation.transfer import Probe, Transfer, TransferMethod
from model_compression.images import Batch


def lwf_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T² · KL(softmax(teacher / T) ‖ softmax(student's old classes / T)), averaged over the batch.

    The paper writes the cross-entropy (equation 2), which differs by the teacher's own entropy, and
    leaves the factor T² to the weight.

    Args:
        student: Logits, shape (N, K); the first K_old of them are the old classes'.
        teacher: Logits of the old classes, shape (N, K_old), K_old ≤ K.
        temperature: T > 0; the paper's is 2.

    Returns:
        A scalar ≥ 0; 0 where both say the same of the old classes, whatever of the new ones.
    """
    old = student[:, : teacher.shape[1]]
    return kd_loss(_wide(old), _wide(teacher.detach()), temperature)


def labels_loss(student: Tensor, labels: Tensor, first: int) -> Tensor:
    """Cross-entropy among the classes from ``first`` on (equation 1); other logits are not touched.

    Args:
        student: Logits, shape (N, K).
        labels: Class numbers from ``first`` to K - 1, shape (N,).
        first: The paper's is the first new class; 0 asks among all.

    Returns:
        A scalar.
    """
    return functional.cross_entropy(_wide(student[:, first:]), labels - first)


class LwfSettings(TransferMethod):
    """Learns new classes from the labels, and the old ones from what the teacher says of them."""

    method: Literal["lwf"]
    temperature: PositiveFloat = 2.0
    weight: PositiveFloat = 1.0
    """Of what keeps the old classes. The paper's λ, which has no T² in it, is 4 times as much at
    the temperature 2."""
    labels: NonNegativeFloat = 1.0
    """Weight of the cross-entropy with the labels."""
    labels_over: Literal["new", "all"] = "new"
    """Among which classes the cross-entropy asks for the label. ``new``: as in the paper; all of
    them if the teacher knows all. ``all``: needs images of old classes too; without them the new
    logits rise above the old ones whatever the image, which the soft targets do not see, as they
    compare old logits with each other."""

    same_classes: ClassVar[bool] = False

    @property
    def is_mean_over_images(self) -> bool:
        """It is."""
        return True

    @property
    def labels_weight(self) -> float:
        """None is left to the objective: among which classes is asked is known here alone."""
        return 0.0

    def transfer(self, probe: Probe) -> Transfer:
        """The loss, if these classes allow it.

        Raises:
            DistillationError: If the teacher knows more classes than the student; or if only the
                new classes are asked for, and there is but one or there are images of old ones.
        """
        old, all_ = probe.teacher.logits.shape[1], probe.student.logits.shape[1]
        if old > all_:
            raise DistillationError(
                f"lwf keeps the teacher's {old} classes in a student that knows them and new ones, "
                f"but the student has {all_}: give it at least {old}"
            )
        if self.labels_over == "all" or old == all_:
            return _Lwf(self, first=0)
        if all_ - old == 1:
            raise DistillationError(
                f"lwf with labels_over: new needs two new classes or more to choose from, but of "
                f"the student's {all_} the teacher knows {old}: set labels_over: all"
            )
        lowest = int(probe.labels.min())
        if lowest < old:
            raise DistillationError(
                f"lwf with labels_over: new takes images of the new classes alone, {old} to "
                f"{all_ - 1}, but some are of class {lowest}: set labels_over: all"
            )
        return _Lwf(self, first=old)


class _Lwf(Transfer):
    def __init__(self, method: LwfSettings, first: int) -> None:
        super().__init__()
        self._method = method
        self._first = first

    def forward(self, student: Observed, teacher: Observed, batch: Batch) -> Tensor:
        method = self._method
        asked = labels_loss(student.logits, batch.labels, self._first)
        kept = lwf_loss(student.logits, teacher.logits, method.temperature)
        return method.labels * asked + method.weight * kept


def _wide(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
