"""What the relation methods share: a loss between two batches of embeddings.

Knows embeddings only; which relation between them is compared is each method's own file.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from model_compression.distillation.method import DistillationError, Observed
from model_compression.distillation.transfer import Transfer
from model_compression.images import Batch


def unit(vectors: Tensor) -> Tensor:
    """Vectors of length 1 along the last axis; 0, with a zero gradient, where a vector is 0."""
    # The norm's own gradient is 0/0 there, and an epsilon would make it 1/epsilon.
    squared = (vectors * vectors).sum(dim=-1, keepdim=True)
    is_nonzero = squared > 0
    return vectors * torch.where(is_nonzero, squared, 1.0).rsqrt() * is_nonzero


def embeddings(student: Observed, teacher: Observed) -> tuple[Tensor, Tensor]:
    """Both embeddings, (N, D_s) and (N, D_t); the teacher's without gradient.

    Raises:
        DistillationError: If one of them was not observed.
    """
    if student.embedding is None or teacher.embedding is None:
        missing = "the student's" if student.embedding is None else "the teacher's"
        raise DistillationError(
            f"a relation method compares embeddings, but {missing} was not observed: observe both "
            "with Need.EMBEDDING"
        )
    return student.embedding, teacher.embedding.detach()


class RelationTransfer(Transfer):
    """weight · loss(student's embeddings, teacher's embeddings); it learns nothing itself."""

    def __init__(self, loss: Callable[[Tensor, Tensor], Tensor], weight: float) -> None:
        super().__init__()
        self._loss = loss
        self._weight = weight

    def forward(self, student: Observed, teacher: Observed, batch: Batch) -> Tensor:
        """A scalar."""
        return self._weight * self._loss(*embeddings(student, teacher))
