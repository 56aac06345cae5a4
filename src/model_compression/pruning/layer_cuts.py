"""A network without a share of each layer: what sensitivity is measured on and ratios are found by.

Knows the two ways to prune in which layers may lose different shares; what a cut network is worth
is others' business.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

from model_compression.pruning.channels import (
    ChannelPruningSettings,
    highest,
    prunable_groups,
    require_groups,
    unit_scores_by_group,
    units_to_keep,
)
from model_compression.pruning.costs import RelativeCosts, WeightCosts
from model_compression.pruning.evidence import Evidence
from model_compression.pruning.masks import (
    MaskPruningSettings,
    apply_masks,
    choose_masks,
    prunable_weights,
)
from model_compression.pruning.methods import PruningMethod
from model_compression.pruning.removal import remove_channels
from model_compression.pruning.weight_importance import score_weights

Ratios = Mapping[str, float]
"""By layer, the share of it that goes; layers that are not named stay whole."""


class LayerCuts(ABC):
    """The layers of a network that can be pruned, each by a share of its own."""

    layers: tuple[str, ...]
    """Their names, in the network's order: of groups of channels, or paths of layers."""
    wanted: float
    """The share of the target that the settings ask for."""
    setting: str
    """What the shares by layer are called among the settings."""

    @abstractmethod
    def nearest(self, layer: str, ratio: float) -> float:
        """The share nearest to ``ratio`` that can go from a layer; rounding decides."""

    @abstractmethod
    def without(self, ratios: Ratios) -> nn.Module:
        """A copy of the network without the least important part of some layers."""

    @abstractmethod
    def removed(self, ratios: Ratios) -> float:
        """The share of the settings' target that goes with these shares of layers, in [0, 1]."""

    @abstractmethod
    def estimated(self, ratios: Ratios) -> float:
        """About what ``removed`` would say, but quickly and without a clock.

        Of the multiply-accumulates where the target is a measured time.
        """


def layer_cuts(
    module: nn.Module,
    input_shape: Sequence[int],
    settings: PruningMethod,
    seed: int,
    *,
    evidence: Evidence | None = None,
    latency: Callable[[nn.Module], float] | None = None,
) -> LayerCuts:
    """The layers that the settings would prune; their ratios play no part.

    Args:
        module: The network; it is left as it is.
        input_shape: (C, H, W) of one image.
        settings: By which importance, how rounded, and which layers not.
        seed: Of the importance ``random``.
        evidence: What the importance looks at, if it needs any.
        latency: Times a network; needed for the target ``latency``.

    Raises:
        ValueError: If nothing can be pruned, or no layer by a share of its own.
    """
    if isinstance(settings, ChannelPruningSettings):
        return ChannelCuts(module, input_shape, settings, seed, evidence, latency)
    if isinstance(settings, MaskPruningSettings):
        return WeightCuts(module, settings, seed, evidence)
    raise ValueError(
        f"The method {settings.method} takes the same share of every layer, so there is nothing "
        "to measure or to allocate: take the method channels or weights."
    )


class ChannelCuts(LayerCuts):
    """Groups of channels, by the share of their units."""

    def __init__(
        self,
        module: nn.Module,
        input_shape: Sequence[int],
        settings: ChannelPruningSettings,
        seed: int,
        evidence: Evidence | None,
        latency: Callable[[nn.Module], float] | None,
    ) -> None:
        groups = require_groups(prunable_groups(module, input_shape, settings.excluded))
        self.wanted = settings.ratio
        self.setting = "ratios"
        self._module = module
        self._input_shape = input_shape
        self._round_to = settings.round_to
        self._scores = unit_scores_by_group(module, groups, settings.importance, evidence, seed)
        groups = [group for group in groups if group.name in self._scores]
        self._groups = {group.name: group for group in groups}
        self.layers = tuple(self._groups)

        given = module, input_shape, groups
        self._costs = RelativeCosts(*given, settings.target, latency)
        self._estimates = WeightCosts(
            *given, "macs" if settings.target == "latency" else settings.target
        )

    def nearest(self, layer: str, ratio: float) -> float:
        """The share nearest to ``ratio`` with which ``round_to`` channels, or a multiple, stay."""
        units = self._groups[layer].units
        return 1 - self._count(layer, ratio) / units

    def without(self, ratios: Ratios) -> nn.Module:
        """A narrower copy of the network."""
        kept = {
            name: highest(self._scores[name], self._count(name, ratio))
            for name, ratio in ratios.items()
        }
        return remove_channels(self._module, self._input_shape, list(self._groups.values()), kept)

    def removed(self, ratios: Ratios) -> float:
        """Of the channels, multiply-accumulates, parameters or measured time."""
        return 1 - self._costs.relative(
            {
                name: torch.arange(group.units) < self._count(name, ratios.get(name, 0.0))
                for name, group in self._groups.items()
            }
        )

    def estimated(self, ratios: Ratios) -> float:
        """Of the channels, or the convolutions' and linear layers' multiply-accumulates or weights.

        See ``WeightCosts``.
        """
        return 1 - self._estimates.relative(
            {name: self._count(name, ratio) for name, ratio in ratios.items()}
        )

    def _count(self, layer: str, ratio: float) -> int:
        group = self._groups[layer]
        if ratio == 0:
            return group.units
        return units_to_keep(group, group.units - round(ratio * group.units), self._round_to)


class WeightCuts(LayerCuts):
    """Layers, by the share of their weights; the target is the share of all of these weights."""

    def __init__(
        self,
        module: nn.Module,
        settings: MaskPruningSettings,
        seed: int,
        evidence: Evidence | None,
    ) -> None:
        weights = prunable_weights(module, settings.excluded)
        self.wanted = settings.sparsity
        self.setting = "sparsities"
        self._module = module
        self._settings = settings
        self._scores = score_weights(weights, settings.importance, evidence, seed)
        self._names = {_path_of(name): name for name in weights}
        self._sizes = {path: weights[name].numel() for path, name in self._names.items()}
        by_row = settings.scope == "row"
        self._competing = {
            path: weights[name][0].numel() if by_row else weights[name].numel()
            for path, name in self._names.items()
        }
        self.layers = tuple(self._names)

    def nearest(self, layer: str, ratio: float) -> float:
        """Of the weights that compete, a layer's or each row's, whole ones and never all."""
        competing = self._competing[layer]
        return min(round(ratio * competing), competing - 1) / competing

    def without(self, ratios: Ratios) -> nn.Module:
        """A copy of the network with zeros."""
        some = {self._names[path]: self._scores[self._names[path]] for path in ratios}
        settings = self._settings.model_copy(update={"sparsities": dict(ratios)})
        cut = copy.deepcopy(self._module)
        apply_masks(cut, choose_masks(some, settings))
        return cut

    def removed(self, ratios: Ratios) -> float:
        """Of the weights."""
        gone = sum(self.nearest(path, ratio) * self._sizes[path] for path, ratio in ratios.items())
        return gone / sum(self._sizes.values())

    def estimated(self, ratios: Ratios) -> float:
        """The same: it is quick."""
        return self.removed(ratios)


def _path_of(name: str) -> str:
    return name.removesuffix("weight").removesuffix(".")
