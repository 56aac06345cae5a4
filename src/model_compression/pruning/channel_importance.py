"""How much a unit of channels matters, by what is known of its weights.

Knows the members of a group and the network's tensors; what goes in the end is others' business.
"""

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from model_compression.pruning.evidence import Evidence
from model_compression.pruning.groups import ChannelGroup, Members

ChannelImportance = Literal["l1", "l2", "lamp", "fpgm", "bn_scale", "taylor", "hessian", "random"]

_NEEDS = {"taylor": "gradients", "hessian": "squared_gradients"}


def needs(importance: ChannelImportance) -> frozenset[str]:
    """The names of ``Evidence``'s fields that an importance looks at."""
    return frozenset({_NEEDS[importance]} if importance in _NEEDS else ())


def unit_scores(
    module: nn.Module,
    group: ChannelGroup,
    importance: ChannelImportance,
    evidence: Evidence | None,
    generator: torch.Generator,
) -> Tensor | None:
    """The importance of each unit of a group; the lowest go first.

    - ``l1``, ``l2``: the norm of a unit's part of each weight that makes or reads it, averaged over
      the weights and divided by the group's mean, so that groups are comparable (Li et al., ICLR
      2017; over dependent layers: Fang et al., DepGraph, CVPR 2023, section 3.3).
    - ``lamp``: s_u² / Σ_{v: s_v ≥ s_u} s_v² of the l2 norms s (Lee et al., ICLR 2021, equation 4).
    - ``fpgm``: Σ_v ‖F_u - F_v‖₂ over the other units' filters: those near to the geometric median
      are replaceable (He et al., CVPR 2019, equation 4); divided by the group's mean.
    - ``bn_scale``: |γ| of the norms that follow (Liu et al., Network Slimming, ICCV 2017).
    - ``taylor``: |Σ w · ∂L/∂w| over the weights that read the unit, which is what a gate on its
      activation would have: |z · ∂L/∂z| (Molchanov et al., CVPR 2019, section 3.1).
    - ``hessian``: ½ Σ h · w² over the same weights, h the Fisher information's diagonal (LeCun et
      al., Optimal Brain Damage, 1989, equation 5).
    - ``random``: uniform in [0, 1), the control.

    Args:
        module: The network.
        group: One of its groups.
        importance: Which of these.
        evidence: What ``needs`` names.
        generator: Of the chance.

    Returns:
        float32, shape (units,), on the CPU, finite and at least 0; None where the importance finds
        nothing to look at in this group.

    Raises:
        ValueError: If the evidence is missing.
    """
    if importance == "random":
        return torch.rand(group.units, generator=generator)
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    if importance == "bn_scale":
        scales = [each for each in group.follows if _is_scale(module, each)]
        scores = _mean(_sums(tensors[each.tensor].abs(), each, group) for each in scales)
    elif importance == "fpgm":
        distances = (_distances(tensors[each.tensor], each, group) for each in group.makes)
        scores = _by_mean(_mean(each for each in distances if each is not None))
    elif importance in ("taylor", "hessian"):
        scores = _saliency(tensors, group, importance, evidence)
    else:
        power = 1 if importance == "l1" else 2
        norms = _mean(
            _sums(tensors[each.tensor].abs() ** power, each, group) ** (1 / power)
            for each in (*group.makes, *group.takes)
        )
        scores = _lamp(norms) if importance == "lamp" else _by_mean(norms)
    return None if scores is None else torch.nan_to_num(scores.float())


def _saliency(
    tensors: dict[str, Tensor],
    group: ChannelGroup,
    importance: ChannelImportance,
    evidence: Evidence | None,
) -> Tensor:
    field = _NEEDS[importance]
    seen = {} if evidence is None else getattr(evidence, field)
    parts = group.takes or group.makes
    missing = [each.tensor for each in parts if each.tensor not in seen]
    if missing:
        raise ValueError(
            f"The importance {importance!r} needs {field} of {missing[0]!r} from training images, "
            "and got none: pass evidence, as evidence.gather makes it of this very network."
        )
    if importance == "taylor":
        sums = [_sums(tensors[e.tensor] * seen[e.tensor], e, group) for e in parts]
        return torch.stack(sums).sum(0).abs()
    sums = [_sums(tensors[e.tensor] ** 2 * seen[e.tensor], e, group) for e in parts]
    return torch.stack(sums).sum(0) / 2


def _sums(values: Tensor, members: Members, group: ChannelGroup) -> Tensor:
    """Of each unit, the sum of its part of a tensor's values; float64, shape (units,)."""
    dim = members.dim
    lines = values.detach().cpu().double().transpose(0, dim).reshape(values.shape[dim], -1).sum(1)
    return torch.zeros(group.units, dtype=torch.float64).index_add(
        0, members.unit, lines[members.index]
    )


def _distances(weight: Tensor, members: Members, group: ChannelGroup) -> Tensor | None:
    """Of each unit, the sum of its distances to the others; None where units differ in size."""
    order = torch.argsort(members.unit, stable=True)
    counts = torch.bincount(members.unit, minlength=group.units)
    if bool((counts != counts[0]).any()):
        return None
    lines = weight.detach().cpu().double().transpose(0, members.dim)
    filters = lines[members.index[order]].reshape(group.units, -1)
    return torch.cdist(filters, filters).sum(1)


def _lamp(norms: Tensor | None) -> Tensor | None:
    if norms is None:
        return None
    squares, order = torch.sort(norms**2, stable=True)
    # Of equal ones each counts the others, as none of them is smaller.
    left = squares.flip(0).cumsum(0).flip(0)
    first = torch.searchsorted(squares, squares, side="left")
    scores = torch.empty_like(squares)
    scores[order] = squares / left[first].clamp_min(torch.finfo(squares.dtype).tiny)
    return scores


def _mean(parts: Iterable[Tensor]) -> Tensor | None:
    some = list(parts)
    return torch.stack(some).mean(0) if some else None


def _by_mean(scores: Tensor | None) -> Tensor | None:
    """Divided by their mean; zeros where all are zero."""
    if scores is None:
        return None
    return scores / scores.mean().clamp_min(torch.finfo(scores.dtype).tiny)


def _is_scale(module: nn.Module, members: Members) -> bool:
    path, _, name = members.tensor.rpartition(".")
    norm = isinstance(module.get_submodule(path), _NormBase | nn.GroupNorm | nn.LayerNorm)
    return name == "weight" and norm
