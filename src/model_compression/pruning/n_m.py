"""Leaves n of every m neighbouring weights: fine-grained, and yet of one regular pattern.

Knows weights and their scores; which hardware makes use of the pattern is not its business.
"""

import logging
import math
from typing import Literal, Self

from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn

from model_compression.parameters import Parameters
from model_compression.pruning.evidence import Evidence
from model_compression.pruning.masks import keep_highest, prunable_weights
from model_compression.pruning.weight_importance import score_weights

logger = logging.getLogger(__name__)


class NMPruningSettings(Parameters):
    """Of every m consecutive weights of an output, the n that matter most stay."""

    method: Literal["n_m"]
    """N:M sparsity (Mishra et al., 2021; Zhou et al., ICLR 2021)."""
    n: PositiveInt = 2
    """Weights that stay of every ``m``."""
    m: PositiveInt = Field(default=4, ge=2)
    """Consecutive weights of one output in the order of the file: of a kernel's, the columns first,
    then the rows, then the input channels. Layers whose outputs don't have a multiple of it keep
    all their weights, and the log names them."""
    importance: Literal["magnitude", "taylor", "wanda", "random"] = "magnitude"
    """By absolute value, by value times gradient (taylor), by value times the input's size (wanda),
    or by chance (the baseline)."""
    excluded: tuple[str, ...] = ()
    """Paths of layers, or of modules with layers in them, that keep all their weights."""

    @model_validator(mode="after")
    def _something_goes(self) -> Self:
        if self.n >= self.m:
            raise ValueError(
                f"n of m weights stay, and n must be the smaller, got {self.n} of {self.m}: lower "
                "n or raise m"
            )
        return self


def keep_n_of_m(scores: Tensor, n: int, m: int) -> Tensor:
    """A bool tensor that is True at the n highest of every m consecutive scores of a row.

    Args:
        scores: Shape (rows, ...), with a multiple of m scores a row. Of equal ones the earlier
            goes.
        n: How many stay.
        m: Of how many.
    """
    return keep_highest(scores.reshape(-1, m), m - n).view(scores.shape)


def n_m_weights(module: nn.Module, settings: NMPruningSettings) -> dict[str, Tensor]:
    """The weights that the pattern fits, by their names; they share memory.

    Raises:
        ValueError: If an excluded path leads nowhere, or if the pattern fits no layer.
    """
    weights = prunable_weights(module, settings.excluded)
    fitting = {name: weight for name, weight in weights.items() if _row(weight) % settings.m == 0}
    if not fitting:
        sizes = ", ".join(f"{name} ({_row(weight)})" for name, weight in weights.items())
        raise ValueError(
            f"There is nothing to prune: no layer has a multiple of m = {settings.m} weights an "
            f"output ({sizes}). Choose an m that divides some of them."
        )
    return fitting


def n_m_masks(
    module: nn.Module, settings: NMPruningSettings, evidence: Evidence | None = None, seed: int = 0
) -> dict[str, Tensor]:
    """Which weights stay; what the pattern doesn't fit has no mask, and the log says so.

    Args:
        module: The network; it is left as it is.
        settings: The pattern, and by which importance.
        evidence: What the importance reads besides (``weight_importance.needs``).
        seed: Of the importance ``random``.

    Returns:
        By the weight's name in ``module``, a bool tensor of the weight's shape; True stays.

    Raises:
        ValueError: If an excluded path leads nowhere, if the pattern fits no layer, or if the
            importance can't be told.
    """
    weights = n_m_weights(module, settings)
    whole = [
        f"{name} ({_row(weight)})"
        for name, weight in prunable_weights(module, settings.excluded).items()
        if name not in weights
    ]
    if whole:
        logger.warning(
            "%d of %d weights are left of every group, but for these, which keep all since an "
            "output of theirs doesn't have a multiple of %d weights: %s",
            settings.n,
            settings.m,
            settings.m,
            ", ".join(whole),
        )
    scores = score_weights(weights, settings.importance, evidence, seed)
    return {name: keep_n_of_m(score, settings.n, settings.m) for name, score in scores.items()}


def _row(weight: Tensor) -> int:
    """Weights an output."""
    return math.prod(weight.shape[1:])
