"""When how much goes: at once, in steps, or along a cubic curve.

Knows shares of a training and of a target; what is cut, and by whom, is others' business.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from model_compression.parameters import Parameters

Share = Annotated[float, Field(ge=0, le=1)]


class OneShot(Parameters):
    """All of it before the first step."""

    name: Literal["one_shot"] = "one_shot"


class Iterative(Parameters):
    """Equal cuts, evenly spread, with training in between (Han et al., 2015)."""

    name: Literal["iterative"]
    steps: PositiveInt = 4
    """Cuts; the first is made before the first step."""
    end: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of the training by which the last cut is made."""


class Cubic(Parameters):
    """Zhu & Gupta, "To prune, or not to prune" (2017), equation 1: fast at first, then slower."""

    name: Literal["cubic"]
    begin: Share = 0.0
    """Share of the training before anything goes."""
    end: Share = 0.5
    """Share of the training after which nothing more goes."""

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> Self:
        if self.end <= self.begin:
            raise ValueError(
                f"a cubic schedule must end after it begins, got begin {self.begin} and end "
                f"{self.end}: raise end, or take the schedule one_shot"
            )
        return self


Schedule = Annotated[OneShot | Iterative | Cubic, Field(discriminator="name")]


def share_cut(schedule: OneShot | Iterative | Cubic, progress: float) -> float:
    """Which share of the final cut has been made.

    One shot: 1. Iterative: i / steps from progress (i - 1) · end / max(steps - 1, 1) on. Cubic:
    1 - (1 - (p - begin) / (end - begin))³ between begin and end.

    Args:
        schedule: When how much goes.
        progress: Share of the training's steps that are done, in [0, 1].

    Returns:
        In [0, 1]; it never falls as progress grows.
    """
    if isinstance(schedule, OneShot):
        return 1.0
    if isinstance(schedule, Iterative):
        if schedule.steps == 1:
            return 1.0
        gap = schedule.end / (schedule.steps - 1)
        # A hair more than what rounding may take from a progress that stands on a cut.
        return min(int(progress / gap + 1e-9) + 1, schedule.steps) / schedule.steps
    passed = (progress - schedule.begin) / (schedule.end - schedule.begin)
    return 1.0 - (1.0 - min(max(passed, 0.0), 1.0)) ** 3


def complete_at(schedule: OneShot | Iterative | Cubic) -> float:
    """The share of the training from which on the whole cut has been made."""
    return 0.0 if isinstance(schedule, OneShot) else schedule.end
