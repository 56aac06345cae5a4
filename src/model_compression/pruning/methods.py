"""Prunes by whichever method the settings name, and keeps pruned what has to be kept.

Knows the methods; which network comes and how it is trained afterwards is its caller's business.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from model_compression.pruning.channels import ChannelPruningSettings, prune_channels
from model_compression.pruning.masks import MaskPruningSettings, apply_masks, magnitude_masks

PruningMethod = Annotated[
    ChannelPruningSettings | MaskPruningSettings, Field(discriminator="method")
]


@dataclass(frozen=True)
class Pruned:
    """A pruned network and what of it must stay zero."""

    module: nn.Module
    masks: Mapping[str, Tensor] = field(default_factory=dict)
    """By parameter name, True where a weight stays; empty where channels are gone for good."""

    def hold(self) -> None:
        """Sets the masked weights to zero again; to be called after every update."""
        apply_masks(self.module, self.masks)


def prune(
    module: nn.Module,
    input_shape: Sequence[int],
    settings: ChannelPruningSettings | MaskPruningSettings,
    seed: int,
) -> Pruned:
    """A pruned copy of ``module``, which is left as it is.

    Args:
        module: The network.
        input_shape: (C, H, W) of one image.
        settings: The method and how much goes.
        seed: Of methods that leave something to chance.

    Raises:
        ValueError: If the settings don't fit the network.
    """
    if isinstance(settings, ChannelPruningSettings):
        return Pruned(prune_channels(module, input_shape, settings, seed))
    pruned = Pruned(copy.deepcopy(module), magnitude_masks(module, settings))
    pruned.hold()
    return pruned
