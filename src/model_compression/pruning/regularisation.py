"""Training that makes whole units small before they are cut: a penalty beside the objective.

Knows a network's tensors and which units they belong to; what is cut afterwards, and when, is
others' business.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from model_compression.images import Batch
from model_compression.parameters import Parameters
from model_compression.pruning.groups import ChannelGroup, Members
from model_compression.training import LossOutput, Objective, autocast

_NEGLIGIBLE = 1e-12
"""Sum of squares below which a unit isn't pulled any more: a norm has no gradient at 0."""


class Regularisation(Parameters):
    """Sparse training of the whole network, before the first channel goes."""

    penalty: Literal["group_lasso", "bn_scale"]
    """On the norm of all that belongs to a unit (Yuan & Lin, 2006; for networks Wen et al., 2016),
    or on the scales of the batch norms that follow it (network slimming, Liu et al., 2017)."""
    strength: PositiveFloat = 1e-4
    """Weight of the penalty: about how hard each weight is pulled, in units of the gradient."""
    epochs: PositiveInt
    """Epochs of it; the schedule of the cuts runs over those that are left."""


def group_lasso(tensors: Mapping[str, Tensor], groups: Sequence[ChannelGroup]) -> Tensor:
    """The sum over units of √p · ‖w‖₂, w being the p parameters that would go with the unit.

    These are rows and columns of kernels, biases, norms' scales and shifts. A weight between two
    units is part of both.

    Args:
        tensors: The network's parameters by name; buffers that a group names play no part.
        groups: At least one.

    Returns:
        A scalar, float32. Its gradient in w is √p · w / ‖w‖₂, whose root mean square is 1, so units
        of all sizes shrink at one pace; 0 for a unit that is 0.
    """
    return torch.stack([_group_penalty(tensors, group) for group in groups]).sum()


def bn_scale(tensors: Mapping[str, Tensor], scales: Sequence[Members]) -> Tensor:
    """The sum of the absolute values of the batch norms' scales.

    Args:
        tensors: The network's parameters by name.
        scales: Which of them, at least one; see ``batch_norm_scales``.

    Returns:
        A scalar, float32.
    """
    return torch.stack(
        [tensors[members.tensor].float()[members.index].abs().sum() for members in scales]
    ).sum()


def batch_norm_scales(module: nn.Module, groups: Sequence[ChannelGroup]) -> list[Members]:
    """The scales of batch norms among what follows the groups' units.

    Raises:
        ValueError: If there are none.
    """
    scales = {
        f"{path}.weight" if path else "weight"
        for path, layer in module.named_modules()
        if isinstance(layer, _BatchNorm) and layer.affine
    }
    found = [members for group in groups for members in group.follows if members.tensor in scales]
    if not found:
        raise ValueError(
            "The penalty bn_scale needs batch norms behind the layers that are pruned, and there "
            f"are none behind {', '.join(group.name for group in groups)}: set "
            "regularisation.penalty to group_lasso."
        )
    return found


class Regularised(Objective):
    """Another objective, and for some epochs a penalty on the network beside it.

    Args:
        inner: What is learned.
        module: The network that the groups are of; before the first cut.
        groups: Its groups.
        settings: Which penalty, how strong, for how long.

    Raises:
        ValueError: If there is nothing that the penalty looks at.
    """

    def __init__(
        self,
        inner: Objective,
        module: nn.Module,
        groups: Sequence[ChannelGroup],
        settings: Regularisation,
    ) -> None:
        super().__init__()
        if not groups:
            raise ValueError(
                "There is nothing to regularise: no layer of the network has channels that can be "
                "removed. Exclude fewer layers, or set regularisation to null."
            )
        self.inner = inner
        self.reads_logits_alone = inner.reads_logits_alone
        self.settings = settings
        self._groups = list(groups)
        self._scales = batch_norm_scales(module, groups) if settings.penalty == "bn_scale" else []
        self._device = torch.device("cpu")

    def forward(self, batch: Batch, model: nn.Module) -> LossOutput:
        """The inner objective's loss, plus the penalty until its epochs are over."""
        output: LossOutput = self.inner(batch, model)
        if batch.epoch >= self.settings.epochs:
            return output
        self._move(batch.images.device)
        tensors = dict(model.named_parameters())
        with autocast(torch.float32, batch.images.device):
            if self.settings.penalty == "bn_scale":
                penalty = bn_scale(tensors, self._scales)
            else:
                penalty = group_lasso(tensors, self._groups)
            return output._replace(loss=output.loss + self.settings.strength * penalty)

    def _move(self, device: torch.device) -> None:
        """Takes the indices to where the network is, once."""
        if device == self._device:
            return
        self._scales = [_on(device, members) for members in self._scales]
        self._groups = [
            replace(
                group,
                makes=tuple(_on(device, members) for members in group.makes),
                takes=tuple(_on(device, members) for members in group.takes),
                follows=tuple(_on(device, members) for members in group.follows),
            )
            for group in self._groups
        ]
        self._device = device


def _group_penalty(tensors: Mapping[str, Tensor], group: ChannelGroup) -> Tensor:
    squares, sizes, units = [], [], []
    for members in group.members:
        tensor = tensors.get(members.tensor)
        if tensor is None:
            continue
        by_index = tensor.float().square().movedim(members.dim, 0)
        by_index = by_index.reshape(len(by_index), -1)
        squares.append(by_index.sum(1)[members.index])
        sizes.append(torch.full_like(squares[-1], by_index.shape[1]))
        units.append(members.unit)
    if not squares:
        raise ValueError(
            f"None of the tensors of the group {group.name!r} is a parameter of this network "
            f"({', '.join(members.tensor for members in group.members)}): take the groups of this "
            "very network."
        )
    unit = torch.cat(units)
    none = torch.zeros(group.units, device=unit.device)
    size = none.index_add(0, unit, torch.cat(sizes))
    square = none.index_add(0, unit, torch.cat(squares))
    return (size * square.clamp_min(_NEGLIGIBLE)).sqrt().sum()


def _on(device: torch.device, members: Members) -> Members:
    return replace(members, index=members.index.to(device), unit=members.unit.to(device))
