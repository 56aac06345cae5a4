"""Deep mutual learning: two students that teach each other (Zhang et al., CVPR 2018, section 2).

    L_1 = CE(z_1, y) + KL(p_2 ‖ p_1),   L_2 = CE(z_2, y) + KL(p_1 ‖ p_2)

Each is a constant in the other's loss. The paper updates the two in turn; here both losses are
minimised by one step, so each network sees a batch once.

Knows the student, its labels and a peer of its own making; no teacher is asked.
"""

from typing import Literal

import torch
from pydantic import PositiveFloat
from torch import Tensor, nn
from torch.nn import functional

from model_compression.distillation.method import Method, Pair
from model_compression.distillation.soft_targets import kd_loss
from model_compression.images import Batch
from model_compression.models import ModelSettings, build_model
from model_compression.training import LossOutput, Objective, place


def mutual_loss(
    student: Tensor, peer: Tensor, labels: Tensor, temperature: float, weight: float
) -> Tensor:
    """CE(student, labels) + weight · T² · KL(softmax(peer / T) ‖ softmax(student / T)).

    Args:
        student: Logits of the network that learns, shape (N, K).
        peer: Logits of the other one, shape (N, K); they get no gradient.
        labels: int64, shape (N,).
        temperature: T > 0; larger is softer.
        weight: Of what is learned from the peer.

    Returns:
        A scalar ≥ 0, the mean over the batch.
    """
    student = student.float()
    imitation = kd_loss(student, peer.detach().float(), temperature)
    return functional.cross_entropy(student, labels) + weight * imitation


class MutualLearning(Objective):
    """Trains a peer beside the student: it is optimised, stored and resumed, but not exported.

    Args:
        peer: The second student.
        temperature: See ``mutual_loss``.
        weight: See ``mutual_loss``.
    """

    def __init__(self, peer: nn.Module, temperature: float, weight: float) -> None:
        super().__init__()
        self.peer = peer
        self._temperature = temperature
        self._weight = weight
        self._placed_for: tuple[torch.device, bool] | None = None

    def forward(self, batch: Batch, model: nn.Module) -> LossOutput:
        """Runs both networks on the very same view of the images."""
        self._place_as(batch.images)
        student = model(batch.images).float()
        peer = self.peer(batch.images).float()
        loss = self._loss(student, peer, batch.labels) + self._loss(peer, student, batch.labels)
        return LossOutput(loss, student)

    def _loss(self, learner: Tensor, other: Tensor, labels: Tensor) -> Tensor:
        return mutual_loss(learner, other, labels, self._temperature, self._weight)

    def _place_as(self, images: Tensor) -> None:
        channels_last = images.is_contiguous(memory_format=torch.channels_last)
        if self._placed_for != (images.device, channels_last):
            place(self.peer, images.device, channels_last)
            self._placed_for = (images.device, channels_last)


class MutualSettings(Method):
    """A second student, trained with the first one; they learn from each other."""

    asks_teacher = False

    method: Literal["mutual"]
    peer: ModelSettings | None = None
    """The second student; ``null``: the student's own architecture with other initial weights."""
    temperature: PositiveFloat = 1.0
    weight: PositiveFloat = 1.0
    """Of what each learns from the other, beside the labels."""

    @property
    def is_mean_over_images(self) -> bool:
        """It is."""
        return True

    def objective(self, pair: Pair) -> Objective:
        """Builds the peer with new weights from torch's random state.

        Raises:
            ModelError: If it can't be built for the student's images and classes.
        """
        spec = pair.spec
        if self.peer is not None:
            spec = self.peer.spec(spec.input_shape, spec.classes)
        return MutualLearning(build_model(spec), self.temperature, self.weight)
