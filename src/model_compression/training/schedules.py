"""Learning rates as pure functions of the step, so that a resumed run needs no scheduler state.

Knows steps, not networks.
"""

import math
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat

from model_compression.parameters import Parameters


class WarmupCosine(Parameters):
    """Linear warm-up, then half a cosine down to ``final`` (Loshchilov & Hutter, ICLR 2017)."""

    name: Literal["warmup_cosine"] = "warmup_cosine"
    warmup_epochs: NonNegativeFloat = 0.0
    final: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The last learning rate, as a share of the peak."""


class OneCycle(Parameters):
    """Linear up from ``initial``, linear down to ``final`` (Smith & Topin, 2018)."""

    name: Literal["one_cycle"]
    warmup_epochs: NonNegativeFloat
    """Where the peak lies."""
    initial: Annotated[float, Field(ge=0, le=1)] = 0.04
    """The first learning rate, as a share of the peak."""
    final: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The last learning rate, as a share of the peak."""


def learning_rate_factor(
    step: int, steps_per_epoch: int, epochs: int, schedule: WarmupCosine | OneCycle
) -> float:
    """The share of the peak learning rate that update ``step`` (from 0) is made with.

    Args:
        step: The update's number over the whole training.
        steps_per_epoch: Updates an epoch.
        epochs: Epochs of the whole training.
        schedule: The shape.

    Returns:
        A factor in [0, 1]; 1 exactly at the end of the warm-up.
    """
    total = steps_per_epoch * epochs
    warmup = schedule.warmup_epochs * steps_per_epoch
    if step < warmup:
        initial = schedule.initial if isinstance(schedule, OneCycle) else 0.0
        return initial + (1.0 - initial) * min((step + 1) / warmup, 1.0)
    progress = min((step - warmup) / max(total - warmup, 1.0), 1.0)
    if isinstance(schedule, OneCycle):
        fall = 1.0 - progress
    else:
        fall = 0.5 * (1.0 + math.cos(math.pi * progress))
    return schedule.final + (1.0 - schedule.final) * fall
