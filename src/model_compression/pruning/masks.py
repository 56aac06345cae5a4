"""Prunes single weights by masks: smaller when packed, not faster (Han et al., 2015).

Knows weights and their scores; when they are trained in between is ``masked``'s business.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn

from model_compression.parameters import Parameters
from model_compression.pruning.evidence import Evidence
from model_compression.pruning.schedules import OneShot, Schedule, share_cut
from model_compression.pruning.selection import prunable_layers
from model_compression.pruning.weight_importance import WeightImportance, score_weights

logger = logging.getLogger(__name__)

Scope = Literal["global", "layer", "row"]


class MaskPruningSettings(Parameters):
    """Sets the least important weights to zero and keeps them there."""

    method: Literal["weights"]
    """Weights one by one."""
    sparsity: Annotated[float, Field(gt=0, lt=1)] = 0.8
    """Share of the convolutions' and linear layers' weights that become zero; not of biases."""
    sparsities: dict[str, Annotated[float, Field(ge=0, lt=1)]] = Field(default_factory=dict)
    """Another share for some layers, by their paths; the others reach ``sparsity`` among
    themselves."""
    importance: WeightImportance = "magnitude"
    """By absolute value, by value times gradient (taylor), LAMP, by value times the input's size
    (wanda), by where fine-tuning moves a weight (movement), or by chance (the baseline)."""
    scope: Scope = "global"
    """Whether weights compete in the whole network, in each layer, or in each row: those that make
    one output, as Wanda's paper compares them."""
    excluded: tuple[str, ...] = ()
    """Paths of layers, or of modules with layers in them, that keep all their weights."""
    schedule: Schedule = OneShot()
    """When how much goes while the network is fine-tuned."""
    update_every: PositiveInt = 32
    """Steps from one choice of weights to the next under the schedule cubic."""

    @model_validator(mode="after")
    def _movement_takes_time(self) -> Self:
        if self.importance == "movement" and share_cut(self.schedule, 0.0) == 1:
            raise ValueError(
                "the importance movement sees how training moves the weights, so it needs a "
                f"schedule that prunes while the network is trained, got {self.schedule.name}, "
                "which here cuts everything before the first step: set schedule.name to cubic, or "
                "take another importance"
            )
        return self


def prunable_weights(module: nn.Module, excluded: tuple[str, ...] = ()) -> dict[str, Tensor]:
    """The weights of the convolutions and linear layers by their names; they share memory.

    A weight that several layers share is there once, under the name that ``named_parameters`` has.

    Raises:
        ValueError: If an excluded path leads nowhere, or if no layer is left to prune.
    """
    names = {_weight_of(path) for path in prunable_layers(module, excluded)}
    weights = {
        name: parameter.detach() for name, parameter in module.named_parameters() if name in names
    }
    if not weights:
        raise ValueError(
            "There is nothing to prune: the network has no convolution or linear layer that is not "
            f"excluded ({', '.join(excluded) or 'none is excluded'})."
        )
    return weights


def weight_masks(
    module: nn.Module,
    settings: MaskPruningSettings,
    evidence: Evidence | None = None,
    seed: int = 0,
    share: float = 1.0,
    before: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Which weights stay, by the network as it is.

    Args:
        module: The network; it is left as it is.
        settings: How much goes, where from, and by which importance; its schedule plays no part.
        evidence: What the importance reads besides (``weight_importance.needs``).
        seed: Of the importance ``random``.
        share: Of the whole cut.
        before: Masks whose dropped weights stay dropped.

    Returns:
        By the weight's name in ``module``, a bool tensor of the weight's shape; True stays.

    Raises:
        ValueError: If a path leads nowhere, if no layer is left to prune, or if the importance
            can't be told.
    """
    weights = prunable_weights(module, settings.excluded)
    scores = score_weights(weights, settings.importance, evidence, seed)
    return choose_masks(scores, settings, share, before)


def choose_masks(
    scores: Mapping[str, Tensor],
    settings: MaskPruningSettings,
    share: float = 1.0,
    before: Mapping[str, Tensor] | None = None,
    ties: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Drops the weights of the lowest scores.

    Exactly ``round(share * sparsity * n)`` of n weights that compete go.

    Args:
        scores: By the weight's name, in the weight's shape.
        settings: The sparsities and the scope.
        share: Of the whole cut, in [0, 1].
        before: Masks whose dropped weights are the first to go, whatever they score.
        ties: What decides between equal scores, the lower going; of equal ones there the earlier.

    Returns:
        By name, a bool tensor of the weight's shape; True stays.

    Raises:
        ValueError: If ``sparsities`` names no layer of these.
    """
    _check_layers(scores, settings)
    if before is not None:
        scores = {
            name: score.masked_fill(~before[name], -torch.inf) for name, score in scores.items()
        }
    named = {_weight_of(path): sparsity for path, sparsity in settings.sparsities.items()}
    whole = settings.scope == "global"
    fields = [[name] for name in scores if name in named or not whole]
    together = [name for name in scores if name not in named and whole]
    masks: dict[str, Tensor] = {}
    for names in [*fields, together] if together else fields:
        score = _competing(scores, names, settings.scope)
        sparsity = named.get(names[0], settings.sparsity)
        kept = keep_highest(
            score,
            round(share * sparsity * score.shape[1]),
            None if ties is None else _competing(ties, names, settings.scope),
        )
        parts = torch.split(kept.flatten(), [scores[name].numel() for name in names])
        for name, part in zip(names, parts, strict=True):
            masks[name] = part.view(scores[name].shape)
    _warn_of_empty_layers(masks, settings)
    return {name: masks[name] for name in scores}


def keep_highest(scores: Tensor, dropped: int, ties: Tensor | None = None) -> Tensor:
    """A bool tensor that is False at the ``dropped`` lowest scores of each row.

    Args:
        scores: Shape (rows, n).
        dropped: In [0, n].
        ties: What decides between equal scores, the lower going; the same shape. Of what is equal
            there too, the earlier goes.
    """
    order = torch.argsort(scores if ties is None else ties, dim=1, stable=True)
    if ties is not None:
        order = order.gather(1, torch.argsort(scores.gather(1, order), dim=1, stable=True))
    kept = torch.ones_like(scores, dtype=torch.bool)
    return kept.scatter_(1, order[:, :dropped], False)


def apply_masks(module: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Sets the weights that the masks drop to zero, in place; to be repeated after every update.

    Raises:
        ValueError: If a mask belongs to no parameter of ``module`` or is of another shape.
    """
    zero_dropped(dict(module.named_parameters()), masks)


@torch.no_grad()
def zero_dropped(tensors: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
    """Sets what the masks drop to +0, in place, in tensors by name (a moving average, say).

    Raises:
        ValueError: If a mask belongs to none of the tensors or is of another shape.
    """
    for name, mask in masks.items():
        tensor = tensors.get(name)
        if tensor is None or tensor.shape != mask.shape:
            found = "there is none" if tensor is None else f"it is {tuple(tensor.shape)}"
            raise ValueError(
                f"A mask expects a parameter {name!r} of shape {tuple(mask.shape)}, but {found}: "
                "make the masks from this very network."
            )
        tensor.masked_fill_(~mask.to(tensor.device), 0.0)


def _weight_of(path: str) -> str:
    return f"{path}.weight" if path else "weight"


def _competing(tensors: Mapping[str, Tensor], names: Sequence[str], scope: Scope) -> Tensor:
    """Shape (rows, n): the values of these layers, a row for all that compete with each other."""
    if scope == "row":
        return torch.cat([tensors[name].flatten(1) for name in names])
    return torch.cat([tensors[name].flatten() for name in names]).unsqueeze(0)


def _check_layers(scores: Mapping[str, Tensor], settings: MaskPruningSettings) -> None:
    unknown = [path for path in settings.sparsities if _weight_of(path) not in scores]
    if unknown:
        paths = [name.removesuffix("weight").removesuffix(".") for name in scores]
        raise ValueError(
            f"sparsities: {', '.join(map(repr, unknown))} is no layer of this network that can be "
            f"pruned and is not excluded. Those are: {', '.join(paths)}."
        )


def _warn_of_empty_layers(masks: Mapping[str, Tensor], settings: MaskPruningSettings) -> None:
    empty = [name for name, mask in masks.items() if not mask.any()]
    if empty:
        logger.warning(
            "Pruning by %s leaves no weight in %s: what they compute no longer depends on the "
            "image. Take the scope layer or the importance lamp, exclude them, or lower sparsity",
            settings.importance,
            ", ".join(empty),
        )
