"""Contrastive representation distillation: CRD (Tian, Krishnan & Isola, ICLR 2020, section 3.1).

    L = -log h(a, b⁺) - Σ_(j=1..m) log(1 - h(a, b_j⁻)),   h(a, b) = e^(a·b/τ) / (e^(a·b/τ) + m·Z/N)

for an anchor a, the same image b⁺ seen by the other network, and m images b⁻ of other classes. Both
networks are anchors in turn; the other side comes from a memory of all N training images. Z/N, the
mean of e^(a·b/τ) over the memory, is estimated from the first batch and then kept.

Where this departs from the paper: one set of negatives is drawn for a whole batch instead of one
for each anchor. Of the drawn images an anchor leaves out those of its own class, and the sum over
the m' others is multiplied by m/m'. Given m', these are independent and uniform over the images of
other classes, as the paper's are, and a sum's expectation does not ask whether the terms of
different anchors depend on each other: the loss's expectation is the paper's, only its variance
over a batch is larger. It turns m·N gathered vectors into m and is what makes thousands of
negatives affordable on a CPU.

Knows embeddings, labels and positions; where they come from is the objective's business.
"""

import math
from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from model_compression.distillation.method import DistillationError, Observed
from model_compression.distillation.relation import embeddings, unit
from model_compression.distillation.transfer import Probe, RelationMethod, Transfer
from model_compression.images import Batch


def crd_loss(
    anchors: Tensor,
    positives: Tensor,
    negatives: Tensor,
    is_other: Tensor,
    *,
    temperature: float,
    count: int,
    log_mean: Tensor | float,
) -> Tensor:
    """The noise-contrastive estimate for one network's anchors.

    Args:
        anchors: One network's embeddings of length 1, shape (B, D); they get the gradient.
        positives: The other network's of the same images, shape (B, D).
        negatives: The other network's of M drawn images, shape (M, D).
        is_other: Whether a drawn image is of another class than the anchor, bool, shape (B, M).
        temperature: τ > 0; smaller looks at the nearest negatives only.
        count: m, how many negatives each anchor's M are weighed as.
        log_mean: log(Z/N).

    Returns:
        A scalar > 0, the mean over B anchors.
    """
    # In logarithms h is a sigmoid, which no similarity overflows.
    offset = log_mean + math.log(count)
    anchors = anchors.float()
    nearness = (anchors * positives.detach().float()).sum(dim=1) / temperature - offset
    others = anchors @ negatives.detach().float().T / temperature - offset
    repelled = (functional.softplus(others) * is_other).sum(dim=1)
    share = count / is_other.sum(dim=1).clamp_min(1)
    return (functional.softplus(-nearness) + share * repelled).mean()


class ContrastiveTransfer(Transfer):
    """Projections of both networks, and what they gave for each training image when last seen.

    Args:
        settings: The method's.
        student_width: D_s.
        teacher_width: D_t.
        labels: Of all training images, int64, (N,).
    """

    student_memory: Tensor
    teacher_memory: Tensor
    log_means: Tensor
    labels: Tensor

    def __init__(
        self, settings: "CrdSettings", student_width: int, teacher_width: int, labels: Tensor
    ) -> None:
        super().__init__()
        self._settings = settings
        self.student_projection = nn.Linear(student_width, settings.width)
        self.teacher_projection = nn.Linear(teacher_width, settings.width)
        for name in ("student_memory", "teacher_memory"):
            # They are part of every stored training state; half precision changes a similarity
            # of two vectors of length 1 by less than 0.001.
            memory = unit(torch.randn(len(labels), settings.width)).half()
            self.register_buffer(name, memory)
        # Of the student's and the teacher's anchors; unknown before the first batch.
        self.register_buffer("log_means", torch.full((2,), math.nan))
        self.register_buffer("labels", labels.clone(), persistent=False)

    def forward(self, student: Observed, teacher: Observed, batch: Batch) -> Tensor:
        """A scalar; remembers both embeddings."""
        seen_by_student, seen_by_teacher = embeddings(student, teacher)
        of_student = unit(self.student_projection(seen_by_student))
        of_teacher = unit(self.teacher_projection(seen_by_teacher))
        memories = (self.student_memory, self.teacher_memory)
        drawn = torch.randint(
            len(self.labels), (self._settings.negatives,), device=self.labels.device
        )
        is_other = self.labels[drawn] != self.labels[batch.indices][:, None]
        loss = of_student.new_zeros(())
        for side, (anchors, memory) in enumerate(
            zip((of_student, of_teacher), reversed(memories), strict=True)
        ):
            negatives = memory[drawn].float()
            loss = loss + crd_loss(
                anchors,
                memory[batch.indices],
                negatives,
                is_other,
                temperature=self._settings.temperature,
                count=self._settings.negatives,
                log_mean=self._log_mean(side, anchors, negatives),
            )
        self._remember(self.student_memory, of_student, batch.indices)
        self._remember(self.teacher_memory, of_teacher, batch.indices)
        return self._settings.weight * loss

    @torch.no_grad()
    def _log_mean(self, side: int, anchors: Tensor, drawn: Tensor) -> Tensor:
        # Estimated at each step and taken at the first: to ask which it is would wait for a GPU.
        similarities = (anchors @ drawn.T / self._settings.temperature).flatten()
        estimate = similarities.logsumexp(0) - math.log(len(similarities))
        known = self.log_means[side]
        self.log_means[side] = known.where(~known.isnan(), estimate)
        # A copy: the next side's estimate must not change what backward needs of this one.
        return self.log_means[side].clone()

    @torch.no_grad()
    def _remember(self, memory: Tensor, seen: Tensor, indices: Tensor) -> None:
        mixed = torch.lerp(seen, memory[indices].float(), self._settings.momentum)
        memory[indices] = unit(mixed).to(memory.dtype)


class CrdSettings(RelationMethod):
    """Each image near to itself in both networks, and far from images of other classes."""

    method: Literal["crd"]
    weight: PositiveFloat = 0.8
    negatives: PositiveInt = 4096
    """For each image, drawn anew at every step; the paper takes 16384."""
    width: PositiveInt = 128
    """Of the projections; the memory of both networks takes 4·N·width bytes."""
    temperature: PositiveFloat = 0.07
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """The old embedding's share when an image is seen again."""

    def transfer(self, probe: Probe) -> Transfer:
        """Linear projections to one width, and a memory of all training images.

        Raises:
            DistillationError: If the training images are all of one class.
        """
        student, teacher = embeddings(probe.student, probe.teacher)
        if (probe.labels == probe.labels[0]).all():
            raise DistillationError(
                "crd contrasts images of different classes, but all training images are of one: "
                "take a method that needs no negatives (rkd, pkt, cc)"
            )
        return ContrastiveTransfer(self, student.shape[1], teacher.shape[1], probe.labels)
