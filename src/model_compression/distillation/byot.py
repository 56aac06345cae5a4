"""Self-distillation: BYOT, "Be Your Own Teacher" (Zhang et al., ICCV 2019, section 3).

    L = CE(z_C, y) + Σ_(i<C) [(1 - α) · CE(z_i, y) + α · T² · KL(p_C ‖ p_i) + λ · |F_i - F_C|²]

Shallow classifiers i sit on the ends of the student's stages: a bottleneck, global pooling, which
gives F_i, and a linear layer. They learn from the deepest one, C, the student itself, whose p_C and
F_C are constants here; what the student gains is their gradient in its early layers. The factor T²
is that of Hinton's soft targets; the |·|² is summed over the width and averaged over the batch.

Knows the student and its labels; no teacher is asked.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor, nn
from torch.nn import functional

from model_compression.distillation.method import DistillationError, Method, Need, Pair
from model_compression.distillation.soft_targets import kd_loss
from model_compression.distillation.taps import Taps
from model_compression.images import Batch
from model_compression.models.initialisation import initialise_convolutions
from model_compression.training import LossOutput, Objective

STAGES = 4
"""That the paper divides a network into: three shallow classifiers and the deepest."""

NARROWEST = 8
"""Channels in the middle of a bottleneck, at least."""


def byot_loss(
    logits: Sequence[Tensor],
    features: Sequence[Tensor],
    labels: Tensor,
    *,
    temperature: float,
    alpha: float,
    hint: float,
) -> Tensor:
    """The losses of all classifiers of a network, the deepest of which teaches the others.

    Args:
        logits: Of each classifier, shape (N, K), the deepest last.
        features: What each classifier's linear layer sees, shape (N, D), the deepest last.
        labels: int64, shape (N,).
        temperature: T > 0.
        alpha: α, the soft targets' share of a shallow classifier's loss.
        hint: λ, weight of the distance between a shallow classifier's features and the deepest's.

    Returns:
        A scalar ≥ 0. The deepest logits get the gradient of their cross-entropy alone, the deepest
        features none.
    """
    *shallow, deepest = (each.float() for each in logits)
    *hinted, aim = (each.float() for each in features)
    loss = functional.cross_entropy(deepest, labels)
    for each, seen in zip(shallow, hinted, strict=True):
        hard = functional.cross_entropy(each, labels)
        soft = kd_loss(each, deepest.detach(), temperature)
        distance = (seen - aim.detach()).square().sum(dim=1).mean()
        loss = loss + (1.0 - alpha) * hard + alpha * soft + hint * distance
    return loss


class ShallowClassifier(nn.Module):
    """A bottleneck towards the size and width of the deepest map, global pooling, and logits.

    Args:
        shape: (N, C, H, W) of the map that it sits on.
        deepest: (N, C, H, W) of the deepest one.
        classes: K.
    """

    def __init__(self, shape: Sequence[int], deepest: Sequence[int], classes: int) -> None:
        super().__init__()
        width = deepest[1]
        middle = max(width // 4, NARROWEST)
        stride = (max(shape[2] // deepest[2], 1), max(shape[3] // deepest[3], 1))
        # No activation at the end: the deepest map of some networks is not one's output.
        self.bottleneck = nn.Sequential(
            nn.Conv2d(shape[1], middle, 1, bias=False),
            nn.BatchNorm2d(middle),
            nn.ReLU(),
            nn.Conv2d(middle, middle, stride, stride, bias=False),
            nn.BatchNorm2d(middle),
            nn.ReLU(),
            nn.Conv2d(middle, width, 1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.classifier = nn.Linear(width, classes)
        initialise_convolutions(self)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Logits, (N, K), and what the linear layer saw, (N, D)."""
        pooled = self.bottleneck(features).mean((2, 3))
        return self.classifier(pooled), pooled


class SelfDistillation(Objective):
    """Shallow classifiers on a student; they are optimised and stored, but not exported.

    Args:
        settings: The method's.
        pair: Of which the student is looked at.

    Raises:
        DistillationError: If the student has no two layers to look at.
    """

    def __init__(self, settings: "ByotSettings", pair: Pair) -> None:
        super().__init__()
        self._settings = settings
        self._taps = Taps(
            pair.student, pair.spec.input_shape, Need.FEATURES, settings.layers, STAGES
        )
        *shallow, deepest = self._taps.probe().features
        if not shallow:
            raise DistillationError(
                f"byot needs a layer below the deepest one ({', '.join(self._taps.layers)}), but "
                f"{pair.spec.name!r} has one size of map only: name two or more in layers"
            )
        self.heads = nn.ModuleList(
            ShallowClassifier(each.shape, deepest.shape, pair.spec.classes) for each in shallow
        )

    def forward(self, batch: Batch, model: nn.Module) -> LossOutput:
        """Runs the student once, and the classifiers on what it showed."""
        observed = self._taps.observe(model, batch.images)
        *shallow, deepest = observed.features
        answers = [head(each) for head, each in zip(self.heads, shallow, strict=True)]
        loss = byot_loss(
            [*(logits for logits, _ in answers), observed.logits],
            [*(features for _, features in answers), deepest.mean((2, 3))],
            batch.labels,
            temperature=self._settings.temperature,
            alpha=self._settings.alpha,
            hint=self._settings.hint,
        )
        return LossOutput(loss, observed.logits)


class ByotSettings(Method):
    """Classifiers on the student's earlier layers, taught by its last one."""

    asks_teacher = False

    method: Literal["byot"]
    temperature: PositiveFloat = 3.0
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.3
    """The soft targets' share of a shallow classifier's loss; the labels have the rest."""
    hint: NonNegativeFloat = 0.03
    """Weight of the squared distance between a shallow classifier's features and the deepest's."""
    layers: tuple[str, ...] | None = Field(default=None, min_length=2)
    """Module paths, from the input towards the output; the last one's features are the aim.
    ``null``: the last layer at each of the last four sizes of map."""

    @property
    def is_mean_over_images(self) -> bool:
        """It is."""
        return True

    def objective(self, pair: Pair) -> Objective:
        """Puts a classifier on each layer but the last.

        Raises:
            DistillationError: If a layer is not there, or there are fewer than two.
        """
        return SelfDistillation(self, pair)
