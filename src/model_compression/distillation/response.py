"""What methods that compare answers alone have in common.

Knows logits; what is compared of them is each method's business.
"""

from abc import ABC, abstractmethod
from typing import Self

import torch
from pydantic import model_validator
from torch import Tensor
from torch.nn import functional

from model_compression.distillation.method import Observed
from model_compression.distillation.standardisation import standardise
from model_compression.distillation.transfer import Probe, Transfer, TransferMethod
from model_compression.images import Batch


def log_probabilities(logits: Tensor, temperature: float) -> Tensor:
    """The logarithm of softmax(z / T) over the classes, shape (N, K), at least float32."""
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return functional.log_softmax(wide / temperature, dim=1)


class ResponseMethod(TransferMethod, ABC):
    """Compares the student's logits with its teacher's; stored answers will do."""

    standardise: bool = False
    """Compares z-scores over the classes, blind to the logits' scale; see ``standardisation``."""

    @model_validator(mode="after")
    def _one_kind_of_logits(self) -> Self:
        if self.standardise and getattr(self, "soft_targets", None) is not None:
            raise ValueError(
                "standardise compares z-scores, and soft_targets would add a comparison of the "
                "logits as they are: leave one of them out"
            )
        return self

    @abstractmethod
    def loss(self, student: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
        """A scalar, its weights already in it.

        Args:
            student: Logits, shape (N, K).
            teacher: Logits, shape (N, K), without gradient.
            batch: What both have seen.
        """

    def transfer(self, probe: Probe) -> Transfer:
        """The loss; there is nothing to project, as both know the same classes."""
        return _Response(self)

    def prepare(self, logits: Tensor) -> Tensor:
        """``logits``, or their z-scores where that was asked for."""
        return standardise(logits) if self.standardise else logits


class _Response(Transfer):
    def __init__(self, method: ResponseMethod) -> None:
        super().__init__()
        self._method = method

    def forward(self, student: Observed, teacher: Observed, batch: Batch) -> Tensor:
        return self._method.loss(student.logits, teacher.logits.detach(), batch)
