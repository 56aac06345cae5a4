"""The teacher: a frozen network, one whose answers are stored, or several as one.

Knows how teachers are asked; what is learned from them is the methods' business.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from model_compression.distillation.answers import Answers, AnswerShelf
from model_compression.distillation.method import DistillationError, Need, Observed, Teacher
from model_compression.distillation.taps import Taps
from model_compression.images import Batch, Batches, resident, to_device
from model_compression.training import (
    Precision,
    autocast,
    current_team,
    place,
    resolve_precision,
)

logger = logging.getLogger(__name__)

Combination = Literal["average", "confidence"]
"""How the logits of several teachers become one answer."""


class FrozenTeacher:
    """A network that only answers: in eval mode, without gradients, never moved to train mode.

    It is deliberately no ``nn.Module``, so that an objective that holds one neither optimises it
    nor stores it.

    Args:
        module: The trained network, frozen by this call.
        input_shape: (C, H, W) of one image.
        classes: Its logits, K.
        precision: In which it answers, whatever its student is trained in: a student that needs
            float32 for its quantization grid need not wait for a teacher in float32.
    """

    def __init__(
        self,
        module: nn.Module,
        input_shape: tuple[int, int, int],
        classes: int,
        precision: Precision = "auto",
    ) -> None:
        self.module = module.eval().requires_grad_(requires_grad=False)
        self.classes = classes
        self._input_shape = input_shape
        self._precision: Precision = precision
        self._taps = Taps(module, input_shape, Need.LOGITS)
        self._placed_for: tuple[torch.device, bool] | None = None

    def logits(self, batch: Batch) -> Tensor:
        """Its logits, shape (N, K), float32, on the device of the images."""
        return self.observe(batch).logits

    @torch.no_grad()
    def observe(self, batch: Batch) -> Observed:
        """What ``watch`` asked for."""
        images = batch.images
        channels_last = images.is_contiguous(memory_format=torch.channels_last)
        if self._placed_for != (images.device, channels_last):
            place(self.module, images.device, channels_last)
            self._placed_for = (images.device, channels_last)
        with autocast(resolve_precision(self._precision, images.device), images.device):
            return self._taps.observe(self.module, images)

    def watch(self, need: Need, layers: Sequence[str] | None = None, count: int = 3) -> Observed:
        """From now on ``observe`` gives ``need`` too; what it shows of two black images.

        Raises:
            DistillationError: If a layer is not there.
        """
        self._taps = Taps(self.module, self._input_shape, need, layers, count)
        return self._taps.probe()


class RememberingTeacher:
    """A teacher who is asked but once about each view of each image.

    All images of a view are asked about when the first of them is, in the set's order, so an
    answer depends neither on the batch that it was asked in nor on what was stored before.

    Args:
        teacher: Who is asked.
        shelf: Where answers are kept, in float16.
        key: Names teacher, images and augmentation: other ones have other answers.
        images: All images, unshuffled, in the views that the student is going to see.

    On a GPU, the answers about the newest view stay there if they fit as the images would.
    """

    def __init__(
        self, teacher: FrozenTeacher, shelf: AnswerShelf, key: str, images: Batches
    ) -> None:
        self.module = teacher.module
        self.classes = teacher.classes
        self._teacher = teacher
        self._shelf = shelf
        self._key = key
        self._images = images
        self._seen: set[int] = set()
        self._resident: tuple[int, Tensor | None] | None = None

    def logits(self, batch: Batch) -> Tensor:
        """The stored logits, shape (N, K), float32, on the device of the images."""
        answers = self._answers(batch.view)
        device = batch.images.device
        if self._resident is None or self._resident[0] != batch.view:
            # The last view's go first: there need not be room for both.
            self._resident = None
            self._resident = batch.view, resident(answers, device, self._images.resident_share)
        there = self._resident[1]
        if there is not None:
            return there.index_select(0, batch.indices).to(torch.float32)
        positions = batch.indices.cpu() if batch.positions is None else batch.positions
        return to_device(torch.from_numpy(answers[positions.numpy()]), device).to(torch.float32)

    def observe(self, batch: Batch) -> Observed:
        """Asks it live: only logits are stored."""
        return self._teacher.observe(batch)

    def watch(self, need: Need, layers: Sequence[str] | None = None, count: int = 3) -> Observed:
        """As ``FrozenTeacher.watch``."""
        return self._teacher.watch(need, layers, count)

    def _answers(self, view: int) -> Answers:
        # Of several processes that train together one asks and writes; the others read after it.
        first = current_team().leader_first() if view not in self._seen else nullcontext()
        with first:
            answers = self._shelf.find(self._key, view)
            if answers is None:
                shape = (len(self._images.image_set), self.classes)
                answers = self._shelf.keep(self._key, view, shape, self._ask(view))
        self._seen.add(view)
        return answers

    def _ask(self, view: int) -> Iterator[Tensor]:
        logger.info("the teacher is asked about view %d of all images", view + 1)
        for batch in self._images.epoch(view):
            yield self._teacher.logits(batch).to("cpu", torch.float16)


class TeacherEnsemble:
    """Several teachers who answer as one.

    Args:
        teachers: At least one; all of the same classes.
        combination: How their logits are combined; see ``combine_logits``.

    Raises:
        DistillationError: If they know different numbers of classes.
    """

    def __init__(self, teachers: Sequence[Teacher], combination: Combination) -> None:
        counts = {teacher.classes for teacher in teachers}
        if len(counts) != 1:
            raise DistillationError(
                f"Teachers that answer together must know the same classes; these know "
                f"{', '.join(str(teacher.classes) for teacher in teachers)}."
            )
        self.classes = counts.pop()
        self._teachers = teachers
        self._combination: Combination = combination

    @property
    def module(self) -> nn.Module:
        """There is none.

        Raises:
            DistillationError: Always.
        """
        raise DistillationError(
            f"This method looks into its teacher, but there are {len(self._teachers)}: take a "
            "method that learns from logits (kd, dkd, dist), or a single teacher."
        )

    def logits(self, batch: Batch) -> Tensor:
        """Their combined logits, shape (N, K), float32."""
        answers = torch.stack([teacher.logits(batch) for teacher in self._teachers])
        return combine_logits(answers, batch.labels, self._combination)

    def observe(self, batch: Batch) -> Observed:
        """Their combined logits."""
        return Observed(self.logits(batch))

    def watch(self, need: Need, layers: Sequence[str] | None = None, count: int = 3) -> Observed:
        """Refuses to look inside.

        Raises:
            DistillationError: Unless only logits are needed.
        """
        if need is not Need.LOGITS:
            _ = self.module
        return Observed(torch.zeros(2, self.classes))


def combine_logits(logits: Tensor, labels: Tensor, combination: Combination) -> Tensor:
    """One answer of several teachers: sum_t w_t z_t.

    ``average``: w_t = 1/T. ``confidence``: w_t = (1 - softmax_t(CE_t)) / (T - 1) for each image, so
    a teacher who is wrong about it counts less (CA-MKD, Zhang, Chen & Wang, ICASSP 2022, eq. 3).

    Args:
        logits: Shape (T, N, K).
        labels: Class numbers, shape (N,).
        combination: Which weights.

    Returns:
        Logits, shape (N, K).
    """
    teachers = len(logits)
    if combination == "average" or teachers == 1:
        return logits.mean(0)
    errors = torch.stack([functional.cross_entropy(z, labels, reduction="none") for z in logits])
    weights = (1 - errors.softmax(0)) / (teachers - 1)
    return (weights[:, :, None] * logits).sum(0)
