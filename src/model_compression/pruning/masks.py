"""Magnitude pruning of single weights by masks: smaller when packed, not faster (Han et al., 2015).

Knows weights; when they are trained in between is the training loop's business.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from model_compression.parameters import Parameters
from model_compression.pruning.selection import prunable_layers


class MaskPruningSettings(Parameters):
    """Sets the smallest weights to zero and keeps them there."""

    method: Literal["magnitude"]
    """Weights one by one, by their absolute value."""
    sparsity: float = Field(default=0.8, gt=0, lt=1)
    """Share of the convolutions' and linear layers' weights that become zero; not of biases."""
    scope: Literal["global", "layer"] = "global"
    """Whether weights compete in the whole network or each layer loses the same share."""
    excluded: tuple[str, ...] = ()
    """Paths of layers, or of modules with layers in them, that keep all their weights."""


def magnitude_masks(module: nn.Module, settings: MaskPruningSettings) -> dict[str, Tensor]:
    """Which weights stay: the largest absolute values.

    Exactly ``round(sparsity * n)`` of the n weights in scope go, of equal ones the earlier first.

    Args:
        module: The network; it is left as it is.
        settings: How much goes, and where from.

    Returns:
        By the weight's name in ``module``, a bool tensor of the weight's shape; True stays.

    Raises:
        ValueError: If an excluded path leads nowhere, or if no layer is left to prune.
    """
    weights = {
        f"{path}.weight" if path else "weight": layer.get_parameter("weight").detach()
        for path, layer in prunable_layers(module, settings.excluded).items()
    }
    if not weights:
        raise ValueError(
            "There is nothing to prune: the network has no convolution or linear layer that is not "
            f"excluded ({', '.join(settings.excluded) or 'none is excluded'})."
        )
    if settings.scope == "layer":
        return {
            name: keep_largest(weight.abs().flatten(), settings.sparsity).view(weight.shape)
            for name, weight in weights.items()
        }
    magnitudes = torch.cat([weight.abs().flatten() for weight in weights.values()])
    kept = keep_largest(magnitudes, settings.sparsity)
    parts = torch.split(kept, [weight.numel() for weight in weights.values()])
    return {
        name: part.view(weight.shape)
        for (name, weight), part in zip(weights.items(), parts, strict=True)
    }


def keep_largest(magnitudes: Tensor, sparsity: float) -> Tensor:
    """A bool tensor, shape (n,), that is False at the ``round(sparsity * n)`` smallest values."""
    kept = torch.ones_like(magnitudes, dtype=torch.bool)
    dropped = round(sparsity * magnitudes.numel())
    kept[torch.argsort(magnitudes, stable=True)[:dropped]] = False
    return kept


def apply_masks(module: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Sets the weights that the masks drop to zero, in place; to be repeated after every update.

    Raises:
        ValueError: If a mask belongs to no parameter of ``module`` or is of another shape.
    """
    parameters = dict(module.named_parameters())
    for name, mask in masks.items():
        parameter = parameters.get(name)
        if parameter is None or parameter.shape != mask.shape:
            found = "there is none" if parameter is None else f"it is {tuple(parameter.shape)}"
            raise ValueError(
                f"A mask expects a parameter {name!r} of shape {tuple(mask.shape)}, but {found}: "
                "make the masks from this very network."
            )
        with torch.no_grad():
            parameter.masked_fill_(~mask.to(parameter.device), 0.0)
