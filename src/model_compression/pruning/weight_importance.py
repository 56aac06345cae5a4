"""How much a single weight matters: by itself, by its gradient, or by what is multiplied with it.

Knows weights and what was seen on training images; how many of them go is the masks' business.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from model_compression.pruning.evidence import Evidence

WeightImportance = Literal["magnitude", "taylor", "lamp", "wanda", "movement", "random"]

_NEEDS = {"taylor": "gradients", "wanda": "input_norms"}


def needs(importance: WeightImportance) -> frozenset[str]:
    """Which fields of ``Evidence`` the importance reads; none for most."""
    return frozenset({_NEEDS[importance]} if importance in _NEEDS else ())


def magnitude(weight: Tensor) -> Tensor:
    """|w| (Han et al., NeurIPS 2015)."""
    return weight.abs()


def taylor(weight: Tensor, gradient: Tensor) -> Tensor:
    """|w · g|: how much the loss changes, to first order, without the weight.

    Molchanov et al., CVPR 2019, eq. 8, before it is squared and for one weight.

    Args:
        weight: Of any shape.
        gradient: Of the loss with respect to it; the same shape.
    """
    return (weight * gradient).abs()


def lamp(weight: Tensor) -> Tensor:
    """w² over the sum of the squares of those weights of the layer that are not smaller.

    Lee et al., ICLR 2021, eq. 3. Of equal weights the earlier counts as the smaller one. A layer's
    largest weight scores 1, so the global scope leaves every layer at least one weight.

    Args:
        weight: All of a layer's weights.

    Returns:
        float64 (the sum is over many small numbers), in [0, 1]; 0 where the weight is 0.
    """
    squares = weight.double().square().flatten()
    order = torch.argsort(squares, stable=True)
    ascending = squares[order]
    not_smaller = ascending.flip(0).cumsum(0).flip(0)
    scores = torch.zeros_like(squares)
    scores[order] = torch.where(ascending > 0, ascending / not_smaller, 0.0)
    return scores.view(weight.shape)


def wanda(weight: Tensor, input_norms: Tensor) -> Tensor:
    """|w| · ‖x‖₂, x being the input that the weight is multiplied with (Sun et al., ICLR 2024).

    Args:
        weight: Shape (out, in / groups, ...): of a linear layer or a convolution.
        input_norms: Shape (in,).

    Raises:
        ValueError: If the inputs are not as many as the weight's groups need.
    """
    outputs, inputs = weight.shape[:2]
    groups, rest = divmod(len(input_norms), inputs)
    if rest or groups == 0 or outputs % groups:
        raise ValueError(
            f"a weight of shape {tuple(weight.shape)} can't be read by {len(input_norms)} inputs: "
            "gather the evidence from this very network"
        )
    norms = input_norms.to(weight).view(groups, 1, inputs).expand(-1, outputs // groups, -1)
    return weight.abs() * norms.reshape(outputs, inputs, *(1,) * (weight.ndim - 2))


def score_weights(
    weights: Mapping[str, Tensor],
    importance: WeightImportance,
    evidence: Evidence | None = None,
    seed: int = 0,
) -> dict[str, Tensor]:
    """A score for each weight; the higher, the more it matters.

    Args:
        weights: By name, such as ``conv1.weight``; the name leads to its evidence.
        importance: Which score. ``movement`` has none here: it grows while a network is trained.
        evidence: What ``needs`` says the importance reads.
        seed: Of ``random``: the same seed and weights get the same scores.

    Returns:
        By name, a tensor of the weight's shape on its device, finite and at least 0.

    Raises:
        ValueError: If the evidence lacks something, is of another shape or is not finite, or if the
            importance is ``movement``.
    """
    if importance == "movement":
        raise ValueError(
            "The importance 'movement' can't be told from a network that stands still: fine-tune "
            "it under a schedule that prunes on the way (schedule.name: cubic), or choose another "
            "importance."
        )
    generator = torch.Generator().manual_seed(seed)
    scores = {}
    for name, weight in weights.items():
        if importance == "magnitude":
            scores[name] = magnitude(weight)
        elif importance == "lamp":
            scores[name] = lamp(weight)
        elif importance == "random":
            scores[name] = torch.rand(weight.shape, generator=generator).to(weight.device)
        elif importance == "taylor":
            scores[name] = taylor(weight, _gradient(name, weight, evidence))
        else:
            scores[name] = _wanda(name, weight, evidence)
        if not torch.isfinite(scores[name]).all():
            raise ValueError(
                f"The importance {importance!r} of {name} is not finite: the network's weights or "
                "what was gathered on training images are infinite or not a number. Train the "
                "source stage again with a lower learning rate."
            )
    return scores


def _gradient(name: str, weight: Tensor, evidence: Evidence | None) -> Tensor:
    gradients = evidence.gradients if evidence is not None else {}
    gradient = _found(name, gradients, "taylor", "gradients")
    if gradient.shape != weight.shape:
        raise ValueError(
            f"The gradient of {name} is of shape {tuple(gradient.shape)}, the weight of shape "
            f"{tuple(weight.shape)}: gather the evidence from this very network."
        )
    return gradient.to(weight.device)


def _wanda(name: str, weight: Tensor, evidence: Evidence | None) -> Tensor:
    norms = evidence.input_norms if evidence is not None else {}
    try:
        return wanda(weight, _found(name.rpartition(".")[0], norms, "wanda", "input_norms"))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _found(name: str, seen: Mapping[str, Tensor], importance: str, field: str) -> Tensor:
    if name not in seen:
        there = f"only for {', '.join(seen)}" if seen else "for no layer"
        raise ValueError(
            f"The importance {importance!r} needs the evidence {field} for {name!r}, but it was "
            f"gathered {there}: gather it from this very network, exclude the layer if it never "
            "sees an image (excluded), or choose another importance."
        )
    return seen[name]
