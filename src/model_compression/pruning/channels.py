"""Removes whole channels, so that the network is smaller and faster without any special runtime.

Knows groups of channels and their importance; how they were found, fine-tuning and files are
others' business.
"""

import copy
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from model_compression.parameters import Parameters
from model_compression.pruning.channel_importance import ChannelImportance, unit_scores
from model_compression.pruning.costs import RelativeCosts, Target
from model_compression.pruning.dependencies import channel_groups
from model_compression.pruning.evidence import Evidence
from model_compression.pruning.groups import ChannelGroup, Kept, whole
from model_compression.pruning.regularisation import Regularisation
from model_compression.pruning.removal import remove_channels
from model_compression.pruning.schedules import OneShot, Schedule
from model_compression.pruning.targets import search

logger = logging.getLogger(__name__)

_SEARCH_STEPS = 10
"""Halvings of the interval for a target; 2^-10 is finer than rounding to channels allows."""


class ChannelPruningSettings(Parameters):
    """Removes the least important channels, with everything that depends on them."""

    method: Literal["channels"]
    """Whole channels."""
    ratio: float = Field(default=0.25, gt=0, lt=1)
    """Share that is removed, of what ``target`` names."""
    target: Target = "channels"
    """What ``ratio`` is a share of: channels, multiply-accumulates or parameters of the whole
    network, or the time of one inference of its file here, batch 1."""
    importance: ChannelImportance = "lamp"
    """By what channels are ranked: docs/pruning.md."""
    scope: Literal["global", "layer"] = "global"
    """Whether channels compete in the whole network or each layer loses the same share."""
    ratios: dict[str, float] = Field(default_factory=dict)
    """Shares of channels by group, as the pipeline ``pruning_sensitivity`` allocates them;
    ``ratio`` is for those that are not named."""
    round_to: int = Field(default=8, ge=1)
    """Layers keep a multiple of so many channels, narrower ones keep all; int8 is slow below 8."""
    excluded: tuple[str, ...] = ()
    """Paths of layers, or of modules with layers in them, that keep all their output channels."""
    schedule: Schedule = OneShot()
    """When how much goes."""
    regularisation: Regularisation | None = None
    """A penalty on whole channels before the first of them goes."""

    @model_validator(mode="after")
    def _ratios_are_shares(self) -> Self:
        for name, ratio in self.ratios.items():
            if not 0 <= ratio < 1:
                raise ValueError(
                    f"ratios: the share of {name!r} has to be at least 0 and below 1, got {ratio}"
                )
        return self


def prune_channels(
    module: nn.Module,
    input_shape: Sequence[int],
    settings: ChannelPruningSettings,
    seed: int,
    *,
    evidence: Evidence | None = None,
    ratio: float | None = None,
    latency: Callable[[nn.Module], float] | None = None,
) -> nn.Module:
    """A narrower copy of ``module``; the logits stay as many as they are.

    Args:
        module: The network; it is left as it is.
        input_shape: (C, H, W) of one image.
        settings: How much goes, and by which importance.
        seed: Of the ``random`` importance.
        evidence: What the importance looks at, if it needs any.
        ratio: Instead of the settings', for one cut of several; then nothing may be left to remove.
        latency: Times a network; needed for the target ``latency``.

    Returns:
        The pruned network, on the same device, its parts in the modes that they had.

    Raises:
        ValueError: If an excluded path or a layer of ``ratios`` leads nowhere, if nothing can be
            pruned or nothing was, or if the network does not work without the channels.
    """
    groups = require_groups(prunable_groups(module, input_shape, settings.excluded))
    _require_names(settings.ratios, groups)
    scores = unit_scores_by_group(module, groups, settings.importance, evidence, seed)
    wanted = settings.ratio if ratio is None else ratio

    def choice(share: float) -> Kept:
        return choose(groups, scores, settings, share)

    share = wanted
    if settings.target != "channels":
        costs = RelativeCosts(module, input_shape, groups, settings.target, latency)
        share = search(lambda each: 1 - costs.relative(choice(each)), wanted, steps=_SEARCH_STEPS)
    kept = choice(share)
    if whole(groups, kept) and ratio is None:
        raise ValueError(
            f"No channel was removed: at a ratio of {settings.ratio} of the {settings.target} no "
            f"layer loses {settings.round_to} channels. Raise ratio or lower round_to."
        )
    return remove_channels(module, input_shape, groups, kept)


def prunable_groups(
    module: nn.Module, input_shape: Sequence[int], excluded: Sequence[str] = ()
) -> list[ChannelGroup]:
    """The groups of channels that the network has been seen to work without.

    ``channel_groups`` knows what the operators say. A width that is written into the code of a
    network shows only when it is narrowed, so that is tried, without memory; what fails stays.

    Raises:
        ValueError: If an excluded path leads nowhere.
    """
    groups = channel_groups(module, input_shape, excluded)
    skeleton = copy.deepcopy(module).to("meta")
    able = _workable(skeleton, input_shape, groups)
    if len(able) < len(groups):
        logger.warning(
            "the network does not work with fewer channels in these layers, so they keep all: %s",
            ", ".join(group.name for group in groups if group not in able),
        )
    return able


def require_groups(groups: list[ChannelGroup]) -> list[ChannelGroup]:
    """The groups themselves.

    Raises:
        ValueError: If there are none.
    """
    if not groups:
        raise ValueError(
            "No channel can be pruned: every layer is excluded, leads to the logits, or goes "
            "through an operator whose channels can't be followed. Take the method weights."
        )
    return groups


def unit_scores_by_group(
    module: nn.Module,
    groups: Sequence[ChannelGroup],
    importance: ChannelImportance,
    evidence: Evidence | None,
    seed: int,
) -> dict[str, Tensor]:
    """The importance of every unit by its group's name, each of shape (units,).

    Groups in which the importance finds nothing to look at are left out.

    Raises:
        ValueError: If that is so for all.
    """
    generator = torch.Generator().manual_seed(seed)
    found = {
        group.name: unit_scores(module, group, importance, evidence, generator) for group in groups
    }
    scores = {name: each for name, each in found.items() if each is not None}
    if not scores:
        raise ValueError(
            f"No channel can be pruned by the importance {importance!r}: no layer has anything "
            "that it looks at (bn_scale needs batch norms). Take l2 or lamp."
        )
    return scores


def channels_to_keep(channels: int, wanted: int, round_to: int) -> int:
    """The multiple of ``round_to`` nearest to ``wanted``, at least one of it and at most all.

    A layer of fewer than ``round_to`` channels keeps them all.
    """
    rounded = math.floor(wanted / round_to + 0.5) * round_to
    return min(max(rounded, round_to), channels)


def choose(
    groups: Sequence[ChannelGroup],
    scores: Mapping[str, Tensor],
    settings: ChannelPruningSettings,
    share: float,
) -> Kept:
    """Which units stay when ``share`` of the channels go, the least important ones.

    In the scope ``global`` the ``share`` of the units with the lowest scores goes, wherever they
    are; in ``layer`` it goes from each group. Groups named in ``ratios`` lose theirs. Then each
    group's number is rounded, and of equal scores the earlier unit goes first.

    Args:
        groups: Of the network.
        scores: By group, as many as it has units; groups without are left whole.
        settings: The scope, the ratios and the rounding.
        share: In [0, 1].
    """
    competing = [group for group in groups if group.name in scores]
    free = [group for group in competing if group.name not in settings.ratios]
    counts = {
        group.name: group.units - round(settings.ratios[group.name] * group.units)
        for group in competing
        if group.name in settings.ratios
    }
    if settings.scope == "layer":
        counts |= {group.name: group.units - round(share * group.units) for group in free}
    elif free:
        every = torch.cat([scores[group.name] for group in free])
        stays = torch.ones_like(every, dtype=torch.bool)
        stays[torch.argsort(every, stable=True)[: round(share * len(every))]] = False
        parts = torch.split(stays, [group.units for group in free])
        counts |= {group.name: int(part.sum()) for group, part in zip(free, parts, strict=True)}
    return {
        group.name: highest(
            scores[group.name], units_to_keep(group, counts[group.name], settings.round_to)
        )
        for group in competing
        # What is allocated nothing keeps all, though that may be no multiple.
        if settings.ratios.get(group.name) != 0
    }


def units_to_keep(group: ChannelGroup, wanted: int, round_to: int) -> int:
    """The number of units nearest to ``wanted`` with which a group has a multiple of channels."""
    return channels_to_keep(group.units, wanted, round_to // math.gcd(round_to, group.width))


def highest(scores: Tensor, count: int) -> Tensor:
    """True at the ``count`` highest scores, shape (units,); of equal ones the earlier go first."""
    stays = torch.ones_like(scores, dtype=torch.bool)
    stays[torch.argsort(scores, stable=True)[: len(scores) - count]] = False
    return stays


def _workable(
    skeleton: nn.Module, input_shape: Sequence[int], groups: Sequence[ChannelGroup]
) -> list[ChannelGroup]:
    """Those of the groups that can be halved, found by halving their list where it fails."""
    if _works(skeleton, input_shape, groups):
        return list(groups)
    if len(groups) < 2:
        return []
    middle = len(groups) // 2
    able = [
        *_workable(skeleton, input_shape, groups[:middle]),
        *_workable(skeleton, input_shape, groups[middle:]),
    ]
    if not _works(skeleton, input_shape, able):
        raise ValueError(
            "The network does not work without some of its channels, although it works without "
            "each of them alone. Set excluded, or take the method weights."
        )
    return able


def _works(skeleton: nn.Module, input_shape: Sequence[int], groups: Sequence[ChannelGroup]) -> bool:
    kept = {group.name: torch.arange(group.units) < max(group.units // 2, 1) for group in groups}
    try:
        remove_channels(skeleton, input_shape, groups, kept)
    except ValueError:
        return False
    return True


def _require_names(ratios: Mapping[str, float], groups: Sequence[ChannelGroup]) -> None:
    names = [group.name for group in groups]
    unknown = [name for name in ratios if name not in names]
    if unknown:
        raise ValueError(
            f"ratios names {', '.join(unknown)}, which can't be pruned or is no layer of this "
            f"network. Its groups of channels are named {', '.join(names)}."
        )
