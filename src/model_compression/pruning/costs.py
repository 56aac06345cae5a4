"""What a network costs, and what is left of that without some of its channels.

Knows sizes and a clock; which channels go is others' business.
"""

import copy
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import nn

from model_compression.evaluation import count_macs, device_of, evaluating
from model_compression.pruning.groups import ChannelGroup, Kept
from model_compression.pruning.removal import logits_of, remove_channels
from model_compression.pruning.selection import prunable_layers

Target = Literal["channels", "macs", "parameters", "latency"]


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
        if self._target == "parameters":
            return float(sum(parameter.numel() for parameter in module.parameters()))
        if self._target == "macs":
            channels, height, width = self._input_shape
            return float(count_macs(module, (channels, height, width)))
        if self._latency is None:
            raise ValueError(
                "target: latency needs something that times a network; expected latency, got None"
            )
        return self._latency(module)


class WeightCosts:
    """What convolutions and linear layers cost without some units, told by their weights' shapes.

    A weight is multiplied once at each position, so a layer's multiply-accumulates are its weight's
    size times its positions. That takes microseconds where a narrower network has to be built and
    run for ``RelativeCosts``; products of activations with each other, as in attention, are left
    out.

    Args:
        module: The network.
        input_shape: (C, H, W) of one image.
        groups: As ``channel_groups`` found them in this network.
        count: ``macs``, ``parameters``, or ``channels``, which are counted exactly.
    """

    def __init__(
        self,
        module: nn.Module,
        input_shape: Sequence[int],
        groups: Sequence[ChannelGroup],
        count: Target,
    ) -> None:
        self._groups = {group.name: group for group in groups}
        self._channels = count == "channels"
        layers = prunable_layers(module)
        positions = _positions(module, layers, input_shape) if count == "macs" else {}
        self._layers = {
            f"{path}.weight": (positions.get(path, 1), tuple(layer.get_parameter("weight").shape))
            for path, layer in layers.items()
        }
        # By weight and dimension: the groups along it, and its indices for each of their units.
        self._along: dict[str, dict[int, list[tuple[str, float]]]] = defaultdict(
            lambda: defaultdict(list)
        )
        for group in groups:
            for members in group.members:
                if members.tensor in self._layers:
                    share = len(members.index) / group.units
                    self._along[members.tensor][members.dim].append((group.name, share))
        self._all = self._cost({})

    def relative(self, units: Mapping[str, int]) -> float:
        """1 of the whole network.

        Args:
            units: By group, how many stay; groups that are not named stay whole.
        """
        return self._cost(units) / self._all

    def _cost(self, units: Mapping[str, int]) -> float:
        gone = {name: self._groups[name].units - count for name, count in units.items()}
        if self._channels:
            return float(
                sum(
                    (group.units - gone.get(name, 0)) * group.width
                    for name, group in self._groups.items()
                )
            )
        return sum(
            positions * math.prod(self._narrowed(weight, shape, gone))
            for weight, (positions, shape) in self._layers.items()
        )

    def _narrowed(self, weight: str, shape: Sequence[int], gone: Mapping[str, int]) -> list[float]:
        along = self._along[weight]
        return [
            size - sum(share * gone.get(name, 0) for name, share in along[dim])
            for dim, size in enumerate(shape)
        ]


def _positions(
    module: nn.Module, layers: Mapping[str, nn.Module], input_shape: Sequence[int]
) -> dict[str, int]:
    """At how many positions of one image each layer multiplies its whole weight."""
    found: dict[str, int] = defaultdict(int)

    def note(path: str) -> Callable[[nn.Module, Any, torch.Tensor], None]:
        def hook(layer: nn.Module, inputs: Any, output: torch.Tensor) -> None:
            found[path] += output.numel() // layer.get_parameter("weight").shape[0]

        return hook

    handles = [layer.register_forward_hook(note(path)) for path, layer in layers.items()]
    try:
        with evaluating(module), torch.no_grad():
            module(torch.zeros(1, *input_shape, device=device_of(module)))
    finally:
        for handle in handles:
            handle.remove()
    return found


def _units(group: ChannelGroup, kept: Kept) -> int:
    return int(kept[group.name].sum()) if group.name in kept else group.units
