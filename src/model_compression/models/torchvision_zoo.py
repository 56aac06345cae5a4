"""torchvision's image classifiers, untrained, for images of any number of channels.

Knows torchvision's constructors; nothing of it is imported before a name is looked up.
"""

import functools
import inspect
import typing
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import torch
from torch import nn

from model_compression.models.architecture import (
    TRIAL_CLASSES,
    Architecture,
    InputShape,
    square_side,
)
from model_compression.torchvision_shim import import_torchvision

_DECIDED = frozenset(
    {"weights", "progress", "num_classes", "image_size", "input_size", "aux_logits"}
    | {"transform_input"}
)
"""Parameters that the data decide, or that make no sense for one output and a safe file: auxiliary
heads, and pretrained weights, which torchvision ships as pickles."""


def torchvision_names() -> list[str]:
    """The names of all classifiers in the installed ``torchvision.models``."""
    models = _models()
    names: list[str] = models.list_models(module=models)
    return names


def torchvision_architecture(name: str) -> Architecture:
    """The architecture of one of ``torchvision_names``.

    The first convolution gets the channels of the images, the last layer the classes, and the
    constructor the images' size where it takes one (vision transformers).
    """
    builder = _models().get_model_builder(name)
    parameters = _parameters(builder)
    build = functools.partial(_build, builder, parameters)
    return Architecture(
        build=build,
        accepted=frozenset(
            option
            for option, parameter in parameters.items()
            if option not in _DECIDED and _can_be_written_in_yaml(parameter)
        ),
        refused=_DECIDED,
        trial=functools.partial(_try, build),
    )


def _models() -> ModuleType:
    models: ModuleType = import_torchvision().models
    return models


def _parameters(builder: Callable[..., nn.Module]) -> dict[str, inspect.Parameter]:
    """What a builder takes: its own keywords and, through ``**kwargs``, those of its class."""
    network = typing.get_type_hints(builder)["return"]
    return {
        name: parameter
        for constructor in (network, builder)
        for name, parameter in inspect.signature(constructor).parameters.items()
        if parameter.kind is not parameter.VAR_KEYWORD
    }


def _can_be_written_in_yaml(parameter: inspect.Parameter) -> bool:
    """Whether it is a plain value with a default, not a layer factory or the builder's own."""
    return parameter.default is not parameter.empty and "Callable" not in str(parameter.annotation)


def _build(
    builder: Callable[..., nn.Module],
    parameters: Mapping[str, inspect.Parameter],
    shape: InputShape,
    classes: int,
    options: Mapping[str, Any],
) -> nn.Module:
    given: dict[str, Any] = {"weights": None, "num_classes": classes}
    if "image_size" in parameters:
        given["image_size"] = square_side(shape)
    if "input_size" in parameters:
        given["input_size"] = shape[1:]
    if "aux_logits" in parameters:
        given["aux_logits"] = False
    if "init_weights" in parameters:
        # GoogLeNet and Inception warn where it is left to them; it is what they would do.
        given["init_weights"] = True
    network = builder(**{**given, **options})
    _adapt_first_convolution(network, shape[0])
    return network


def _try(
    build: Callable[[InputShape, int, Mapping[str, Any]], nn.Module], options: Mapping[str, Any]
) -> None:
    try:
        with torch.device("meta"):
            build((3, 224, 224), TRIAL_CLASSES, options)
    except NotImplementedError:
        # RegNet reads values of tensors while it is being built, and meta tensors have none. What
        # is wrong with its options is then said when the network itself is built.
        return


def _adapt_first_convolution(network: nn.Module, channels: int) -> None:
    first = next(layer for layer in network.modules() if isinstance(layer, nn.Conv2d))
    if first.in_channels != channels:
        first.in_channels = channels
        first.weight = nn.Parameter(torch.empty(first.out_channels, channels, *first.kernel_size))
        nn.init.kaiming_normal_(first.weight, mode="fan_out", nonlinearity="relu")
