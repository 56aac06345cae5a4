"""Optimisers by name, with weight decay where it belongs.

Knows parameters and their shapes, not what they compute.
"""

from collections.abc import Iterable
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import nn

from model_compression.parameters import Parameters


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
    section 5.3; He et al., 2019, section 3.1).
    """
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
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
    if isinstance(settings, Sgd):
        return torch.optim.SGD(
            groups,
            lr=settings.learning_rate,
            momentum=settings.momentum,
            nesterov=settings.nesterov and settings.momentum > 0,
        )
    return torch.optim.AdamW(
        groups, lr=settings.learning_rate, betas=(settings.beta1, settings.beta2)
    )
