"""Distillation without data: DAFL (Chen et al., ICCV 2019) with batch-norm statistics.

A generator learns against the teacher alone to make images such as the teacher knows, and the
student learns the teacher's answers to them:

    generator: a · one-hot + b · activation + c · entropy      DAFL, section 3.2
               + d · statistics                                DeepInversion, section 3.2
               + e · disagreement                              DeepInversion, section 3.3
    student:   T² · KL(teacher ‖ student)                      DAFL, section 3.1; Hinton, 2015

DAFL is "Data-Free Learning of Student Networks", DeepInversion is "Dreaming to Distill" (Yin et
al., CVPR 2020). Statistics: the images must leave in the teacher's batch norms the means and
variances that its own training images left there. Of all the terms this counts most; a teacher
without batch norm lacks it.

Knows a teacher's module and the shape of an image, and never sees a real one: of a batch it takes
the number of images, not their pixels or labels. (The best epoch is still chosen on validation
images.)
"""

import math
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from model_compression.distillation.generator import Generator, GeneratorTraining
from model_compression.distillation.method import DistillationError, Method, Need, Pair
from model_compression.distillation.soft_targets import kd_loss
from model_compression.distillation.taps import Taps
from model_compression.images import Batch
from model_compression.training import LossOutput, Objective, autocast, place


class Statistics(NamedTuple):
    """Of one layer's channels."""

    mean: Tensor
    """(C,)."""
    variance: Tensor
    """(C,); the biased one, by N."""


def one_hot_loss(teacher: Tensor) -> Tensor:
    """-log max softmax(z), averaged over the batch: images that the teacher is sure of.

    It is the cross-entropy with the teacher's own answer, argmax z.

    Args:
        teacher: Logits, shape (N, K).

    Returns:
        A scalar in [0, log K].
    """
    teacher = teacher.float()
    return functional.cross_entropy(teacher, teacher.argmax(dim=1))


def activation_loss(embedding: Tensor) -> Tensor:
    """-mean |f|: images that excite the teacher's last features.

    Args:
        embedding: What enters the teacher's classifier, shape (N, D).

    Returns:
        A scalar ≤ 0.
    """
    return -embedding.float().abs().mean()


def entropy_loss(teacher: Tensor) -> Tensor:
    """Σ_k p_k log p_k of p, the mean of softmax(z) over the batch: all classes alike.

    Args:
        teacher: Logits, shape (N, K).

    Returns:
        A scalar in [-log K, 0]; -log K where the batch is balanced.
    """
    log_p = functional.log_softmax(teacher.float(), dim=1)
    # In logarithms throughout: log 0 would be infinite where the teacher never says a class.
    log_mean = log_p.logsumexp(dim=0) - math.log(len(teacher))
    return (log_mean.exp() * log_mean).sum()


def statistics_of(maps: Tensor) -> Statistics:
    """Mean and variance of every channel, over images and positions.

    Args:
        maps: Shape (N, C, ...).
    """
    channels = maps.float().transpose(0, 1).flatten(1)
    variance, mean = torch.var_mean(channels, dim=1, correction=0)
    return Statistics(mean, variance)


def statistics_loss(here: Sequence[Statistics], stored: Sequence[Statistics]) -> Tensor:
    """‖μ̂ - μ‖₂ + ‖σ̂² - σ²‖₂, averaged over the layers.

    DeepInversion sums over them; the mean keeps one weight right for teachers of any depth.

    Args:
        here: Of each batch norm's input for these images.
        stored: Each batch norm's own, of the images that it was trained on.

    Returns:
        A scalar ≥ 0; 0 where all agree.
    """
    distances = [
        torch.linalg.vector_norm(mine.mean - own.mean)
        + torch.linalg.vector_norm(mine.variance - own.variance)
        for mine, own in zip(here, stored, strict=True)
    ]
    return torch.stack(distances).mean()


def disagreement_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """-JS(softmax(z_T), softmax(z_S)), averaged over the batch: what the student has yet to learn.

    JS(p, q) = (KL(p ‖ m) + KL(q ‖ m)) / 2 with m = (p + q) / 2. DeepInversion takes 1 - JS, which
    has the same gradient.

    Args:
        student: Logits, shape (N, K).
        teacher: Logits, shape (N, K).

    Returns:
        A scalar in [-log 2, 0]; 0 where both give the same distribution.
    """
    log_p = functional.log_softmax(teacher.float(), dim=1)
    log_q = functional.log_softmax(student.float(), dim=1)
    log_m = torch.stack([log_p, log_q]).logsumexp(dim=0) - math.log(2)
    divergence = [
        functional.kl_div(log_m, log_, log_target=True, reduction="batchmean")
        for log_ in (log_p, log_q)
    ]
    return -(divergence[0] + divergence[1]) / 2


class DataFreeSettings(Method):
    """A generator's images instead of any data."""

    method: Literal["data_free"]
    temperature: PositiveFloat = 4.0
    """Of the student's soft targets."""
    one_hot: NonNegativeFloat = 1.0
    """Weight of ``one_hot_loss``."""
    activation: NonNegativeFloat = 0.1
    """Weight of ``activation_loss``; 0 for a teacher without maps, in which nothing can be seen."""
    entropy: NonNegativeFloat = 5.0
    """Weight of ``entropy_loss``."""
    statistics: NonNegativeFloat = 1.0
    """Weight of ``statistics_loss``; it has no effect if the teacher has no batch norm."""
    disagreement: NonNegativeFloat = 5.0
    """Weight of ``disagreement_loss``; 0 saves the student's second pass."""
    generator_steps: PositiveInt = 1
    """The generator's updates for one of the student's."""
    generator_learning_rate: PositiveFloat = 3e-3
    """Adam's."""
    latent: PositiveInt = 100
    """Numbers of noise an image."""
    width: Annotated[int, Field(ge=2, multiple_of=2)] = 64
    """Channels of the generator's widest layers."""

    def objective(self, pair: Pair) -> Objective:
        """The generator is made and trained inside of it.

        Raises:
            DistillationError: If teacher and student know different numbers of classes, or there
                are several teachers.
        """
        return DataFree(self, pair)


class DataFree(Objective):
    """Trains a generator against the teacher, and gives the student's loss on its images.

    Networks run in whatever precision the training loop's autocast sets; statistics and losses
    are float32. Noise comes from torch's global generator, which the loop seeds every epoch.

    Raises:
        DistillationError: See ``DataFreeSettings.objective``.
    """

    def __init__(self, settings: DataFreeSettings, pair: Pair) -> None:
        super().__init__()
        if pair.teacher.classes != pair.spec.classes:
            raise DistillationError(
                f"data_free teaches a student its teacher's answers, but the teacher knows "
                f"{pair.teacher.classes} classes and the student {pair.spec.classes}: take a "
                "student of as many"
            )
        self._settings = settings
        self._sight = _Sight(
            pair.teacher.module, pair.spec.input_shape, embedding=settings.activation > 0
        )
        self.source = GeneratorTraining(
            Generator(pair.spec.input_shape, settings.latent, settings.width),
            settings.generator_learning_rate,
        )

    def forward(self, batch: Batch, model: nn.Module) -> LossOutput:
        """Steps the generator, then runs ``model`` on the images of its last step."""
        channels_last = batch.images.is_contiguous(memory_format=torch.channels_last)
        self._sight.place(batch.images.device, channels_last)
        for _ in range(self._settings.generator_steps):
            noise = torch.randn(
                len(batch.images), self._settings.latent, device=batch.images.device
            )
            images = self.source.generator(noise).contiguous(
                memory_format=torch.channels_last if channels_last else torch.contiguous_format
            )
            seen = self._sight.observe(images)
            self.source.descend(self._generator_loss(images, seen, model))
        # The images of the step, not new ones: they and the teacher's answers are there already.
        images, answers = images.detach(), seen.logits.detach()
        logits = model(images).float()
        with autocast(torch.float32, images.device):
            loss = kd_loss(logits, answers, self._settings.temperature)
        return LossOutput(loss, logits, answers.argmax(dim=1))

    def _generator_loss(self, images: Tensor, seen: "_Seen", model: nn.Module) -> Tensor:
        weights = self._settings
        student = model(images).float() if weights.disagreement else None
        with autocast(torch.float32, images.device):
            loss = weights.one_hot * one_hot_loss(seen.logits)
            loss = loss + weights.entropy * entropy_loss(seen.logits)
            if seen.embedding is not None:
                loss = loss + weights.activation * activation_loss(seen.embedding)
            if seen.here and weights.statistics:
                loss = loss + weights.statistics * statistics_loss(seen.here, seen.stored)
            if student is not None:
                loss = loss + weights.disagreement * disagreement_loss(student, seen.logits)
        return loss


class _Seen(NamedTuple):
    """What the teacher showed of generated images, with gradient into them."""

    logits: Tensor
    embedding: Tensor | None
    here: list[Statistics]
    """Of the input of each batch norm that ran (auxiliary heads do not)."""
    stored: list[Statistics]
    """Those batch norms' own."""


class _Sight:
    """Looks into the frozen teacher. No ``nn.Module``, so that the teacher is not stored."""

    def __init__(
        self, module: nn.Module, input_shape: tuple[int, int, int], *, embedding: bool
    ) -> None:
        self._module = module
        self._taps = Taps(module, input_shape, Need.EMBEDDING if embedding else Need.LOGITS)
        self._norms = [
            part
            for part in module.modules()
            if isinstance(part, _BatchNorm) and part.running_mean is not None
        ]
        self._placed_for: tuple[torch.device, bool] | None = None

    def place(self, device: torch.device, channels_last: bool) -> None:
        """Moves the teacher to where the images are going to be."""
        if self._placed_for != (device, channels_last):
            place(self._module, device, channels_last)
            self._placed_for = (device, channels_last)

    def observe(self, images: Tensor) -> _Seen:
        """Runs the teacher, with gradient into the images."""
        here: list[Statistics] = []
        stored: list[Statistics] = []

        def note(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            assert isinstance(norm, _BatchNorm)
            assert norm.running_mean is not None
            assert norm.running_var is not None
            here.append(statistics_of(inputs[0]))
            stored.append(Statistics(norm.running_mean, norm.running_var))

        with ExitStack() as hooks:
            for norm in self._norms:
                hooks.callback(norm.register_forward_pre_hook(note).remove)
            observed = self._taps.observe(self._module, images)
        return _Seen(observed.logits, observed.embedding, here, stored)
