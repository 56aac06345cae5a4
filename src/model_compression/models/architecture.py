"""What an architecture is: a way to build a network for given images, and the options it takes.

Knows constructors and their signatures; which names lead to them is the zoo's business.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

InputShape = tuple[int, int, int]
"""Channels, height and width of one image."""

GIVEN_BY_THE_DATA = ("channels", "image_size", "classes")
"""What a constructor may take and no option may set."""

TRIAL_CLASSES = 10


class ModelError(ValueError):
    """A network that can't be built, or that doesn't turn such images into such logits."""


@dataclass(frozen=True)
class Architecture:
    """How a network is built, and the options with which it can be."""

    build: Callable[[InputShape, int, Mapping[str, Any]], nn.Module]
    """(input shape, number of classes, options) -> the network; may raise anything."""
    accepted: frozenset[str]
    """Names of the options that it takes."""
    required: frozenset[str] = frozenset()
    """Those of them that have no default."""
    refused: frozenset[str] = frozenset(GIVEN_BY_THE_DATA)
    """Names that are never options, as something else decides them."""
    takes_any: bool = False
    """Whether it takes names other than ``accepted`` too, as a constructor with ``**kwargs``."""
    trial: Callable[[Mapping[str, Any]], object] | None = None
    """Builds something cheap that fails just where ``build`` would fail for every input shape."""

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Compares options with the constructor's signature, and tries their values if it can.

        Raises:
            ModelError: If an option is unknown, missing, or has an impossible value.
        """
        names = set(options)
        unknown = names & self.refused if self.takes_any else names - self.accepted
        if unknown:
            raise ModelError(
                f"it takes no option {_listed(unknown)}; the options are: {_listed(self.accepted)}"
            )
        if missing := self.required - names:
            raise ModelError(f"it can't be built without the option {_listed(missing)}")
        if options and self.trial is not None:
            try:
                with torch.random.fork_rng(devices=[]):
                    self.trial(options)
            except Exception as error:
                raise ModelError(f"it can't be built with {dict(options)}: {error}") from error


def from_constructor(
    constructor: Callable[..., nn.Module],
    fixed: Mapping[str, Any] | None = None,
    trial_shape: InputShape | None = None,
) -> Architecture:
    """The architecture of a module class that may take ``channels``, ``image_size``, ``classes``.

    Each of the three is passed if the constructor names it; its other parameters are the options.

    Args:
        constructor: An ``nn.Module`` class.
        fixed: Parameters that the architecture's name has decided already.
        trial_shape: An input shape for which any sound options can be built, to try them.
    """
    fixed = fixed or {}
    parameters = inspect.signature(constructor).parameters.values()
    named = {p.name: p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    options = {
        name: parameter
        for name, parameter in named.items()
        if name not in GIVEN_BY_THE_DATA and name not in fixed
    }

    def build(shape: InputShape, classes: int, options: Mapping[str, Any]) -> nn.Module:
        given: dict[str, Any] = {"channels": shape[0], "classes": classes}
        if "image_size" in named:
            given["image_size"] = square_side(shape)
        taken = {name: value for name, value in given.items() if name in named}
        return constructor(**taken, **fixed, **options)

    return Architecture(
        build=build,
        accepted=frozenset(options),
        required=frozenset(name for name, p in options.items() if p.default is p.empty),
        refused=frozenset(GIVEN_BY_THE_DATA) | frozenset(fixed),
        takes_any=any(p.kind is p.VAR_KEYWORD for p in parameters),
        trial=None if trial_shape is None else functools.partial(build, trial_shape, TRIAL_CLASSES),
    )


def square_side(shape: InputShape) -> int:
    """The side of square images in pixels.

    Raises:
        ModelError: If they aren't square.
    """
    _, height, width = shape
    if height != width:
        raise ModelError(
            f"it needs square images, and these are {height}x{width}: set the data's image_size"
        )
    return height


def _listed(names: set[str] | frozenset[str]) -> str:
    return ", ".join(sorted(names)) or "none"
