"""What a distillation method is: typed settings that make an objective for a teacher and a student.

Knows what networks show of a batch; what is learned from it is each method's own file.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, NamedTuple, Protocol

from torch import Tensor, nn

from model_compression.images import Batch
from model_compression.models import ModelSpec
from model_compression.parameters import Parameters
from model_compression.training import Objective


class Observed(NamedTuple):
    """What a network showed of one batch, float32."""

    logits: Tensor
    """(N, K)."""
    features: tuple[Tensor, ...] = ()
    """A map (N, C, H, W) of each observed layer, from the input towards the output."""
    embedding: Tensor | None = None
    """What enters the classifier, (N, D)."""


class Need(Enum):
    """What of the networks a method looks at, beside their logits."""

    LOGITS = "logits"
    """Nothing; a teacher's answers can be stored."""
    FEATURES = "features"
    """The layers' outputs."""
    PREACTIVATIONS = "preactivations"
    """What enters the activation function that ends a layer; its output where none does."""
    EMBEDDING = "embedding"
    """What enters the classifier."""


class Teacher(Protocol):
    """Whatever can be asked about a batch; it never learns."""

    @property
    def classes(self) -> int:
        """K."""

    @property
    def module(self) -> nn.Module:
        """The network behind it.

        Raises:
            DistillationError: If there are several.
        """

    def logits(self, batch: Batch) -> Tensor:
        """(N, K), float32, without gradient."""

    def observe(self, batch: Batch) -> Observed:
        """Logits and what ``watch`` asked for, float32, without gradient."""

    def watch(self, need: Need, layers: Sequence[str] | None = None, count: int = 3) -> Observed:
        """From now on ``observe`` gives ``need`` too; what it shows of two black images.

        Arguments and errors are those of ``taps.Taps``.
        """


class DistillationError(ValueError):
    """A method that does not go with this teacher or this student."""


@dataclass(frozen=True)
class Pair:
    """A teacher, the student that is going to be trained, and the images they meet on."""

    teacher: Teacher
    student: nn.Module
    """The very module that the training loop will pass to the objective."""
    spec: ModelSpec
    """The student's, before anything was pruned from it."""
    labels: Tensor
    """Of all training images, int64, (N,); a batch's ``indices`` point into it."""


class Method(Parameters, ABC):
    """One way to learn, chosen by ``method:``."""

    asks_teacher: ClassVar[bool] = True
    """Whether it learns from a teacher at all."""

    method: str

    @property
    def asks_several(self) -> bool:
        """Whether several teachers can answer as one: of these there are only logits."""
        return False

    @property
    def is_mean_over_images(self) -> bool:
        """Whether the loss of a batch is the mean of its images' losses, batch norms aside.

        Then several processes that share a batch learn what one would. Where images are compared
        with each other, or something else is taken of a batch as a whole, they would not.
        """
        return False

    def why_not_shared(self) -> str | None:
        """Why several processes can't train by this method together; ``None`` if they can."""
        if self.is_mean_over_images:
            return None
        return (
            f"{self.method}, as it is set, takes a batch as a whole (it compares its images, say), "
            "and several processes, each of which sees a part of it, would learn something else: "
            "train this stage in one process, by the same command without torchrun, or take a "
            "method that looks at each image by itself (kd, dkd, at, reviewkd, ...)"
        )

    @abstractmethod
    def objective(self, pair: Pair) -> Objective:
        """What the training loop minimises.

        Raises:
            DistillationError: If the method does not go with this pair.
        """


def ramp(epoch: int, warmup_epochs: int) -> float:
    """A weight that grows linearly to 1 over the first epochs, counted from 0; 1 without warm-up.

    min((epoch + 1) / warmup_epochs, 1).
    """
    return min((epoch + 1) / warmup_epochs, 1.0) if warmup_epochs else 1.0
