"""Removes whole channels, so that the network is smaller and faster without any special runtime.

Knows a network's layers and their dependencies, by Torch-Pruning's graph (Fang et al., DepGraph,
CVPR 2023); fine-tuning and files are others' business.
"""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch_pruning
from pydantic import Field
from torch import Tensor, nn

from model_compression.evaluation import count_macs, count_parameters, device_of, evaluating
from model_compression.parameters import Parameters
from model_compression.pruning.selection import PRUNABLE, prunable_layers

_SEARCH_STEPS = 8
"""Halvings of the interval for a share of MACs; 2^-8 is finer than rounding to channels allows."""

_IMPORTANCES: dict[str, Callable[[], Callable[[Any], Tensor | None]]] = {
    "l1": lambda: torch_pruning.importance.GroupMagnitudeImportance(p=1),
    "l2": lambda: torch_pruning.importance.GroupMagnitudeImportance(p=2),
    "lamp": torch_pruning.importance.LAMPImportance,
    "fpgm": torch_pruning.importance.FPGMImportance,
    "bn_scale": torch_pruning.importance.BNScaleImportance,
    "random": torch_pruning.importance.RandomImportance,
}


class ChannelPruningSettings(Parameters):
    """Removes the least important channels, with everything that depends on them."""

    method: Literal["channels"]
    """Whole channels."""
    ratio: float = Field(default=0.25, gt=0, lt=1)
    """Share that is removed, of what ``target`` names."""
    target: Literal["channels", "macs"] = "channels"
    """What ``ratio`` is a share of: channels, or multiply-accumulates of the whole network."""
    importance: Literal["l1", "l2", "lamp", "fpgm", "bn_scale", "random"] = "lamp"
    """By the weights' norms (l1, l2), LAMP, distance to the geometric median, batch norm scales, or
    by chance (the baseline)."""
    scope: Literal["global", "layer"] = "global"
    """Whether channels compete in the whole network or each layer loses the same share."""
    round_to: int = Field(default=8, ge=1)
    """Layers keep a multiple of so many channels, narrower ones keep all; int8 is slow below 8."""
    excluded: tuple[str, ...] = ()
    """Paths of layers, or of modules with layers in them, that keep all their output channels."""


@dataclass(frozen=True)
class _Group:
    """Channels that can only go together: the layer that stands for them, and their importance."""

    layer: nn.Module
    prune: Callable[..., Any]
    scores: Tensor
    """Shape (channels / sections,)."""
    sections: int
    """Grouped convolutions and group norms must lose the same channels in each of their groups."""


def prune_channels(
    module: nn.Module, input_shape: Sequence[int], settings: ChannelPruningSettings, seed: int
) -> nn.Module:
    """A narrower copy of ``module``; the logits stay as many as they are.

    Args:
        module: The network; it is left as it is.
        input_shape: (C, H, W) of one image.
        settings: How much goes, and by which importance.
        seed: Of the ``random`` importance.

    Returns:
        The pruned network, on the same device, its parts in the modes that they had.

    Raises:
        ValueError: If an excluded path leads nowhere, if nothing can be pruned or nothing was, or
            if the network does not work without the channels.
    """
    excluded = _untouchable(module, input_shape, settings.excluded)
    settings = settings.model_copy(update={"excluded": excluded})
    method = _pruned if settings.target == "channels" else _search
    pruned = method(module, input_shape, settings, seed)
    if count_parameters(pruned)[0] == count_parameters(module)[0]:
        raise ValueError(
            f"No channel was removed: at a ratio of {settings.ratio} of the {settings.target} no "
            f"layer loses {settings.round_to} channels. Raise ratio or lower round_to."
        )
    return pruned


def channels_to_keep(channels: int, wanted: int, round_to: int) -> int:
    """The multiple of ``round_to`` nearest to ``wanted``, at least one of it and at most all.

    A layer of fewer than ``round_to`` channels keeps them all.
    """
    rounded = math.floor(wanted / round_to + 0.5) * round_to
    return min(max(rounded, round_to), channels)


def _search(
    module: nn.Module, input_shape: Sequence[int], settings: ChannelPruningSettings, seed: int
) -> nn.Module:
    """The copy whose share of removed MACs is nearest to the wanted one, by bisection."""
    channels, height, width = input_shape
    shape = (channels, height, width)
    all_macs = count_macs(module, shape)
    low, high = 0.0, 1.0
    best, best_error = module, math.inf
    for _ in range(_SEARCH_STEPS):
        ratio = (low + high) / 2
        trial = settings.model_copy(update={"ratio": ratio})
        candidate = _pruned(module, input_shape, trial, seed)
        removed = 1 - count_macs(candidate, shape) / all_macs
        if abs(removed - settings.ratio) < best_error:
            best, best_error = candidate, abs(removed - settings.ratio)
        low, high = (ratio, high) if removed < settings.ratio else (low, ratio)
    return best


def _pruned(
    module: nn.Module, input_shape: Sequence[int], settings: ChannelPruningSettings, seed: int
) -> nn.Module:
    """A copy without the share ``ratio`` of the channels; none of the excluded layers' goes."""
    pruned = copy.deepcopy(module)
    modes = [(part, part.training) for part in pruned.modules()]
    pruned.eval()
    for parameter in pruned.parameters():
        # Torch-Pruning reads the dependencies off the autograd graph.
        parameter.requires_grad_(True)
    images = _probe_image(pruned, input_shape)
    with torch.enable_grad():
        graph = _dependencies(pruned, images)
        ignored = [pruned.get_submodule(path) for path in settings.excluded]
        groups = _groups(graph, settings.importance, ignored, seed)
        kept = _wanted(groups, settings.ratio, settings.scope)
        for group, wanted in zip(groups, kept, strict=True):
            _prune_group(graph, group, wanted, settings.round_to)
    _check(pruned, module, images)
    _restore_flags(pruned, modes, dict(module.named_parameters()))
    return pruned


def _dependencies(module: nn.Module, images: Tensor) -> Any:
    try:
        return torch_pruning.DependencyGraph().build_dependency(module, example_inputs=images)
    except Exception as error:  # whatever goes wrong inside of Torch-Pruning
        raise ValueError(
            f"The channels of {type(module).__name__} cannot be followed through its layers "
            f"({type(error).__name__}: {error}); shuffled channels, for one, cannot. Set "
            "method: magnitude, or take another model."
        ) from error


def _groups(graph: Any, name: str, ignored: list[nn.Module], seed: int) -> list[_Group]:
    importance = _IMPORTANCES[name]()
    groups = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for group in graph.get_all_groups(ignored_layers=ignored, root_module_types=PRUNABLE):
            scores = importance(group)
            if scores is None:
                continue
            sections = _sections(graph, group)
            # A group of dead channels only has the mean 0, by which it was divided.
            scores = torch.nan_to_num(scores.cpu()).view(sections, -1).mean(0)
            root = group[0].dep
            groups.append(_Group(root.target.module, root.handler, scores, sections))
    if not groups:
        raise ValueError(
            f"No channel can be pruned by the importance {name!r}: every layer is "
            "excluded, leads to the logits, or has nothing that the importance looks at "
            "(bn_scale needs batch norms)."
        )
    return groups


def _sections(graph: Any, group: Any) -> int:
    counts = [1]
    for dependency, _ in group:
        layer = dependency.target.module
        pruner = graph.get_pruner_of_module(layer)
        if pruner is None or _is_depthwise(layer):
            continue
        outputs = graph.is_out_channel_pruning_fn(dependency.handler)
        count = pruner.get_out_channel_groups if outputs else pruner.get_in_channel_groups
        counts.append(count(layer))
    return max(counts)


def _is_depthwise(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d) and (
        layer.groups == layer.out_channels
    )


def _wanted(groups: list[_Group], ratio: float, scope: str) -> list[int]:
    """How many of each group's channels should stay, before rounding."""
    counts = [len(group.scores) for group in groups]
    if scope == "layer":
        return [count - round(ratio * count) for count in counts]
    scores = torch.cat([group.scores for group in groups])
    kept = torch.ones_like(scores, dtype=torch.bool)
    kept[torch.argsort(scores, stable=True)[: round(ratio * len(scores))]] = False
    return [int(part.sum()) for part in torch.split(kept, counts)]


def _prune_group(graph: Any, group: _Group, wanted: int, round_to: int) -> None:
    count = len(group.scores)
    step = round_to // math.gcd(round_to, group.sections)
    dropped = count - channels_to_keep(count, wanted, step)
    if dropped == 0:
        return
    lowest = torch.argsort(group.scores, stable=True)[:dropped]
    indices = [
        index for section in range(group.sections) for index in (lowest + section * count).tolist()
    ]
    graph.get_pruning_group(group.layer, group.prune, sorted(indices)).prune()


def _untouchable(
    module: nn.Module, input_shape: Sequence[int], excluded: Sequence[str]
) -> tuple[str, ...]:
    """Paths of the excluded layers and of the one that makes the logits, the last to be called."""
    left = prunable_layers(module, excluded)
    called: list[str] = []
    hooks = {
        path: layer.register_forward_hook(lambda *_, path=path: called.append(path))
        for path, layer in prunable_layers(module).items()
    }
    try:
        with evaluating(module), torch.no_grad():
            module(_probe_image(module, input_shape))
    finally:
        for hook in hooks.values():
            hook.remove()
    return tuple(path for path in hooks if path not in left or path in called[-1:])


def _probe_image(module: nn.Module, input_shape: Sequence[int]) -> Tensor:
    return torch.zeros((1, *input_shape), device=device_of(module))


def _check(pruned: nn.Module, module: nn.Module, images: Tensor) -> None:
    """Raises unless the pruned network still turns images into as many logits."""
    advice = (
        "Exclude the layers of the part of the network that cannot be narrowed by setting excluded."
    )
    with evaluating(module), torch.no_grad():
        expected = module(images).shape
    try:
        with torch.no_grad():
            actual = pruned(images).shape
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"The network does not work without the pruned channels: {error}. {advice}"
        ) from error
    if actual != expected:
        raise ValueError(
            f"Pruning changed the logits' shape from {tuple(expected)} to {tuple(actual)}. {advice}"
        )


def _restore_flags(
    pruned: nn.Module, modes: list[tuple[nn.Module, bool]], originals: dict[str, nn.Parameter]
) -> None:
    for part, training in modes:
        part.training = training
    for name, parameter in pruned.named_parameters():
        parameter.requires_grad_(originals[name].requires_grad)
        parameter.grad = None
