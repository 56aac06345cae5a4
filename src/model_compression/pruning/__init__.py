"""Pruning: whole channels, which makes a network faster, or single weights, which packs it smaller.

Knows networks; fine-tuning and files are others' business.
"""

from model_compression.pruning.allocation import allocate
from model_compression.pruning.channels import (
    ChannelPruningSettings,
    choose,
    prunable_groups,
    prune_channels,
)
from model_compression.pruning.dependencies import channel_groups
from model_compression.pruning.evidence import Evidence, gather
from model_compression.pruning.groups import ChannelGroup, Kept, Members
from model_compression.pruning.layer_cuts import LayerCuts, layer_cuts
from model_compression.pruning.masked import MaskedObjective, masked_weights
from model_compression.pruning.masks import MaskPruningSettings, apply_masks, weight_masks
from model_compression.pruning.methods import PruningMethod, needs, schedule_of
from model_compression.pruning.n_m import NMPruningSettings, n_m_masks
from model_compression.pruning.regularisation import Regularisation
from model_compression.pruning.removal import remove_channels
from model_compression.pruning.schedules import complete_at, share_cut
from model_compression.pruning.sensitivity import (
    Sensitivity,
    damage_by_layer,
    measure_sensitivity,
)
from model_compression.pruning.shrinking import Shrinking

__all__ = [
    "ChannelGroup",
    "ChannelPruningSettings",
    "Evidence",
    "Kept",
    "LayerCuts",
    "MaskPruningSettings",
    "MaskedObjective",
    "Members",
    "NMPruningSettings",
    "PruningMethod",
    "Regularisation",
    "Sensitivity",
    "Shrinking",
    "allocate",
    "apply_masks",
    "channel_groups",
    "choose",
    "complete_at",
    "damage_by_layer",
    "gather",
    "layer_cuts",
    "masked_weights",
    "measure_sensitivity",
    "n_m_masks",
    "needs",
    "prunable_groups",
    "prune_channels",
    "remove_channels",
    "schedule_of",
    "share_cut",
    "weight_masks",
]
