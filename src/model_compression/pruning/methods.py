"""The ways to prune that a parameter file chooses from.

Knows their settings; how each of them is carried out is its own module's business.
"""

from typing import Annotated

from pydantic import Field

from model_compression.pruning import channel_importance, weight_importance
from model_compression.pruning.channels import ChannelPruningSettings
from model_compression.pruning.masks import MaskPruningSettings
from model_compression.pruning.n_m import NMPruningSettings
from model_compression.pruning.schedules import Cubic, Iterative, OneShot

PruningMethod = Annotated[
    ChannelPruningSettings | MaskPruningSettings | NMPruningSettings,
    Field(discriminator="method"),
]
"""Whole channels, single weights, or n of every m weights."""


def needs(
    settings: ChannelPruningSettings | MaskPruningSettings | NMPruningSettings,
) -> frozenset[str]:
    """The names of ``Evidence``'s fields that the importance of the settings looks at."""
    if isinstance(settings, ChannelPruningSettings):
        return channel_importance.needs(settings.importance)
    return weight_importance.needs(settings.importance)


def schedule_of(
    settings: ChannelPruningSettings | MaskPruningSettings | NMPruningSettings,
) -> OneShot | Iterative | Cubic:
    """When how much goes; n of m weights are left at once."""
    return OneShot() if isinstance(settings, NMPruningSettings) else settings.schedule
