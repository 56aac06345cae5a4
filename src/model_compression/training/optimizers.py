"""Optimisers by name, with weight decay where it belongs.

Knows parameters and their shapes, not what they compute.
"""

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor, nn

from model_compression.parameters import Parameters

_WAYS = ("fused", "foreach", "capturable")
"""What of a group of parameters says how a step is computed, and not which."""


class Sgd(Parameters):
    """Stochastic gradient descent with (Nesterov) momentum."""

    name: Literal["sgd"]
    learning_rate: PositiveFloat
    """The schedule's peak."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = True
    weight_decay: NonNegativeFloat = 5e-4


class AdamW(Parameters):
    """Adam with decoupled weight decay (Loshchilov & Hutter, ICLR 2019)."""

    name: Literal["adamw"]
    learning_rate: PositiveFloat
    """The schedule's peak."""
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    weight_decay: NonNegativeFloat = 0.01


def build_optimizer(
    parameters: Iterable[nn.Parameter], settings: Sgd | AdamW
) -> torch.optim.Optimizer:
    """The optimiser of ``settings``; only matrices and kernels decay, not biases and norms.

    Decay on one-dimensional parameters costs accuracy and saves nothing (Goyal et al., 2017,
    section 5.3; He et al., 2019, section 3.1). On a GPU a step is one kernel for many parameters.
    """
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    # None, not False: then PyTorch does as it sees fit.
    fused = can_be_fused(trainable) or None
    groups = [
        {
            "params": [parameter for parameter in trainable if parameter.ndim > 1],
            "weight_decay": settings.weight_decay,
        },
        {
            "params": [parameter for parameter in trainable if parameter.ndim <= 1],
            "weight_decay": 0.0,
        },
    ]
    if isinstance(settings, AdamW):
        betas = (settings.beta1, settings.beta2)
        return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=betas, fused=fused)
    optimizer = torch.optim.SGD(
        groups,
        lr=settings.learning_rate,
        momentum=settings.momentum,
        nesterov=settings.nesterov and settings.momentum > 0,
        fused=fused,
    )
    _begin_momentum(optimizer)
    return optimizer


def can_be_fused(parameters: Sequence[Tensor]) -> bool:
    """Whether PyTorch has fused kernels for all of them, and they are those of a GPU.

    There are some for CPUs as well, whose results are others by rounding.
    """
    return bool(parameters) and all(
        parameter.device.type == "cuda" and parameter.is_floating_point()
        for parameter in parameters
    )


def load_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Makes ``optimizer`` go on from ``state``, in its own way of computing a step.

    Where a training began on another device, its state says that it was fused, or wasn't.

    Args:
        optimizer: A fresh one, of the same groups of parameters.
        state: What ``optimizer_state`` gave, of an optimiser on any device; left as it is.
    """
    groups = [
        {**group, **{name: own[name] for name in _WAYS if name in own}}
        for group, own in zip(state["param_groups"], optimizer.param_groups, strict=True)
    ]
    optimizer.load_state_dict(copy.deepcopy({"state": state["state"], "param_groups": groups}))
    if isinstance(optimizer, torch.optim.SGD):
        _begin_momentum(optimizer)


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """A copy of what the optimiser has to remember, its tensors on the CPU."""
    state = optimizer.state_dict()
    return {
        "state": {
            index: {
                name: value.detach().to("cpu", copy=True) if isinstance(value, Tensor) else value
                for name, value in slot.items()
            }
            for index, slot in state["state"].items()
        },
        "param_groups": copy.deepcopy(state["param_groups"]),
    }


def _begin_momentum(optimizer: torch.optim.SGD) -> None:
    """Gives each parameter of a fused optimiser a momentum of 0 where it has none.

    After its first step it has its gradient, as without this. But the fused kernel takes all or
    none, and a parameter may get its first gradient later than others.
    """
    for group in optimizer.param_groups:
        if group["fused"] and group["momentum"] > 0:
            for parameter in group["params"]:
                slot = optimizer.state[parameter]
                if slot.get("momentum_buffer") is None:
                    slot["momentum_buffer"] = torch.zeros_like(parameter)
