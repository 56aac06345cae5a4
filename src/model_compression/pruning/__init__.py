"""Pruning: whole channels, which makes a network faster, or single weights, which packs it smaller.

Knows networks; fine-tuning and files are others' business.
"""

from model_compression.pruning.channels import ChannelPruningSettings, prune_channels
from model_compression.pruning.masks import MaskPruningSettings, apply_masks, magnitude_masks
from model_compression.pruning.methods import Pruned, PruningMethod, prune

__all__ = [
    "ChannelPruningSettings",
    "MaskPruningSettings",
    "Pruned",
    "PruningMethod",
    "apply_masks",
    "magnitude_masks",
    "prune",
    "prune_channels",
]
