"""Takes channels out of a network: narrower tensors, and layers that fit them.

Knows tensors and groups of channels; which of them go is its caller's business. The narrower
network is made just as it is made from a file later on, so a file gives back the very same one.
"""

import copy
from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from model_compression.evaluation import device_of, evaluating
from model_compression.models import fit_to
from model_compression.pruning.groups import ChannelGroup, Kept


def remove_channels(
    module: nn.Module,
    input_shape: Sequence[int],
    groups: Sequence[ChannelGroup],
    kept: Kept,
    expected: torch.Size | None = None,
) -> nn.Module:
    """A copy of a network without the units that are not kept.

    Args:
        module: The network, on any device (``meta`` too); it is left as it is.
        input_shape: (C, H, W) of one image.
        groups: As ``channel_groups`` found them in this network.
        kept: Which of their units stay.
        expected: The shape of the logits of two images, if it is known; ``logits_of`` finds it.

    Raises:
        ValueError: If a group is left without a unit, or if the network does not work without the
            others.
    """
    pruned = copy.deepcopy(module)
    images = torch.zeros((2, *input_shape), device=device_of(module))

    actual = torch.Size()

    def run() -> None:
        nonlocal actual
        with evaluating(pruned), torch.no_grad():
            actual = pruned(images).shape

    expected = expected or logits_of(module, input_shape)
    weights = narrowed(module.state_dict(), groups, kept)
    try:
        fit_to(pruned, weights, run)
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"The network does not work without the removed channels: {error}. {_ADVICE}"
        ) from error
    if actual != expected:
        raise ValueError(
            f"Pruning changed the logits' shape from {tuple(expected)} to {tuple(actual)}. "
            f"{_ADVICE}"
        )
    for parameter in pruned.parameters():
        parameter.grad = None
    return pruned


def logits_of(module: nn.Module, input_shape: Sequence[int]) -> torch.Size:
    """The shape of a network's logits of two images."""
    images = torch.zeros((2, *input_shape), device=device_of(module))
    with evaluating(module), torch.no_grad():
        logits: Tensor = module(images)
    return logits.shape


_ADVICE = (
    "Exclude the layers of the part of the network that cannot be narrowed by setting excluded."
)


def narrowed(
    weights: Mapping[str, Tensor], groups: Sequence[ChannelGroup], kept: Kept
) -> dict[str, Tensor]:
    """A network's tensors without the indices of the units that are not kept.

    Raises:
        ValueError: If a group is left without a unit, or ``kept`` is not of its size.
    """
    gone: dict[tuple[str, int], list[Tensor]] = defaultdict(list)
    for group in groups:
        if group.name not in kept:
            continue
        stays = kept[group.name]
        if stays.shape != (group.units,) or not bool(stays.any()):
            raise ValueError(
                f"{group.name} has {group.units} units, of which at least one has to stay; got "
                f"{int(stays.count_nonzero())} of {tuple(stays.shape)}."
            )
        for members in group.members:
            gone[members.tensor, members.dim].append(members.index[~stays[members.unit]])
    result = dict(weights)
    for (name, dim), parts in gone.items():
        tensor = result[name]
        stays = torch.ones(tensor.shape[dim], dtype=torch.bool)
        stays[torch.cat(parts)] = False
        if not bool(stays.all()):
            index = stays.nonzero().flatten().to(tensor.device)
            result[name] = tensor.index_select(dim, index)
    return result
