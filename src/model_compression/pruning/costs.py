"""What a network costs, and what is left of that without some of its channels.

Knows sizes and a clock; which channels go is others' business.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Literal

from torch import nn

from model_compression.evaluation import count_macs
from model_compression.pruning.dependencies import channel_groups
from model_compression.pruning.groups import ChannelGroup, Kept
from model_compression.pruning.removal import logits_of, remove_channels

Target = Literal["channels", "macs", "parameters", "latency"]


def network_cost(
    module: nn.Module,
    input_shape: Sequence[int],
    target: Target,
    excluded: Sequence[str] = (),
    latency: Callable[[nn.Module], float] | None = None,
) -> float:
    """What of a network ``ratio`` is a share of.

    Channels count where they can be pruned; multiply-accumulates and parameters in the whole
    network; the time is what ``latency`` says.

    Raises:
        ValueError: If the target is ``latency`` and there is nothing to measure it.
    """
    if target == "channels":
        groups = channel_groups(module, input_shape, excluded)
        return float(sum(group.channels for group in groups))
    if target == "parameters":
        return float(sum(parameter.numel() for parameter in module.parameters()))
    if target == "macs":
        channels, height, width = input_shape
        return float(count_macs(module, (channels, height, width)))
    if latency is None:
        raise ValueError(
            "target: latency needs something that times a network; expected latency, got None"
        )
    return latency(module)


class RelativeCosts:
    """The cost of a network without some of its units, relative to what it was.

    Args:
        module: The network.
        input_shape: (C, H, W) of one image.
        groups: As ``channel_groups`` found them in this network.
        target: What is counted or measured.
        latency: Times a network; needed for the target ``latency``.

    Raises:
        ValueError: If the target is ``latency`` and there is nothing to measure it.
    """

    def __init__(
        self,
        module: nn.Module,
        input_shape: Sequence[int],
        groups: Sequence[ChannelGroup],
        target: Target,
        latency: Callable[[nn.Module], float] | None,
    ) -> None:
        # Sizes need no numbers; a clock does.
        self._module = module if target == "latency" else copy.deepcopy(module).to("meta")
        self._input_shape = input_shape
        self._groups = groups
        self._target: Target = target
        self._latency = latency
        self._logits = logits_of(self._module, input_shape)
        self._known: dict[tuple[int, ...], float] = {}
        self._all = self._cost(self._module, {})

    def relative(self, kept: Kept) -> float:
        """1 of the whole network; how many units each group keeps decides, not which."""
        key = tuple(int(kept[group.name].sum()) for group in self._groups if group.name in kept)
        if key not in self._known:
            self._known[key] = self._cost(self._without(kept), kept) / self._all
        return self._known[key]

    def _without(self, kept: Kept) -> nn.Module:
        if self._target == "channels":
            return self._module
        return remove_channels(self._module, self._input_shape, self._groups, kept, self._logits)

    def _cost(self, module: nn.Module, kept: Kept) -> float:
        if self._target == "channels":
            # To find the groups of a narrower network takes numbers; these are known.
            return sum(_units(group, kept) * group.width for group in self._groups)
        return network_cost(module, self._input_shape, self._target, (), self._latency)


def _units(group: ChannelGroup, kept: Kept) -> int:
    return int(kept[group.name].sum()) if group.name in kept else group.units
