"""Which network: what a user asks for, and what is needed to build it again.

Knows names and shapes; weights come later.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Self

import torch
from pydantic import AfterValidator, Field, PositiveInt, model_validator
from torch import Tensor, nn

from model_compression.models.architecture import ModelError
from model_compression.models.views import Sight, Viewed, seen_shape
from model_compression.models.zoo import find_architecture
from model_compression.parameters import Parameters

PROBE_BATCH = 2


def _as_json(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as a file gives them back, so that a stored spec equals the one it was made from."""
    try:
        plain: dict[str, Any] = json.loads(json.dumps(options, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ValueError(f"options must be plain JSON values: {error}") from error
    return plain


Options = Annotated[dict[str, Any], AfterValidator(_as_json)]

# Left out of files and fingerprints where it is the image: most networks have no view to tell of.
Sees = Annotated[Sight, Field(exclude_if=lambda sees: sees == "image")]


class ModelSpec(Parameters):
    """All that is needed to build a network but its weights."""

    name: str
    """A name of ``available_models()``, or the dotted path of an ``nn.Module`` class."""
    options: Options = Field(default={})
    """What its constructor takes besides the images' channels, their size and the classes."""
    input_shape: tuple[PositiveInt, PositiveInt, PositiveInt]
    """Channels, height and width of one image."""
    classes: PositiveInt
    """Number of logits."""
    sees: Sees = "image"
    """What it makes of an image before it looks at it; ``input_shape`` is the image's."""


class ModelSettings(Parameters):
    """A choice of network, checked as soon as it is read."""

    name: str = Field(min_length=1)
    """net, lenet300, lenet5, resnet8 (14, 20, 32, 56), wrn_16_2 (or any width), the name of a
    torchvision classifier, or the dotted path of an nn.Module class, package.module.Class."""
    options: Options = Field(default={})
    """What its constructor takes besides the images' channels, their size and the classes."""
    sees: Sees = "image"
    """What it makes of an image before it looks at it: image (nothing), half_resolution, grey,
    gradients, image_and_gradients. Teacher and student may see different things."""

    @model_validator(mode="after")
    def _can_be_built(self) -> Self:
        architecture = find_architecture(self.name)
        try:
            architecture.check_options(self.options)
        except ModelError as error:
            raise ModelError(f"model {self.name!r}: {error}") from error
        return self

    def spec(self, input_shape: tuple[int, int, int], classes: int) -> ModelSpec:
        """This network for images of ``input_shape`` (C, H, W) and so many ``classes``."""
        return ModelSpec(
            name=self.name,
            options=self.options,
            input_shape=input_shape,
            classes=classes,
            sees=self.sees,
        )


def build_model(spec: ModelSpec) -> nn.Module:
    """Builds a network with new random weights and checks it by a forward pass.

    The weights are a pure function of torch's random state.

    Returns:
        The network, on the CPU, in the mode that its constructor leaves it in (training).

    Raises:
        ModelError: If it can't be built, or doesn't turn images of ``spec.input_shape`` into
            ``spec.classes`` logits.
    """
    model = construct(spec)
    probe(model, spec)
    return model


def construct(spec: ModelSpec) -> nn.Module:
    """Builds a network without checking that it works.

    Raises:
        ModelError: If its constructor is unknown or fails, or if nothing of the images would be
            left in its view.
    """
    architecture = find_architecture(spec.name)
    shape = seen_shape(spec.input_shape, spec.sees)
    try:
        network = architecture.build(shape, spec.classes, spec.options)
    except Exception as error:
        seen = "" if spec.sees == "image" else f", its {spec.sees} of {spec.input_shape},"
        raise ModelError(
            f"model {spec.name!r} can't be built for images of shape {shape}{seen} and "
            f"{spec.classes} classes with the options {spec.options}: {error}"
        ) from error
    return network if spec.sees == "image" else Viewed(spec.sees, network)


def probe(model: nn.Module, spec: ModelSpec) -> None:
    """Runs two black images through ``model`` in eval mode; leaves its modes as they were.

    Raises:
        ModelError: If the forward pass fails or its output isn't of shape (2, ``spec.classes``).
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            output = model(torch.zeros(PROBE_BATCH, *spec.input_shape))
    except Exception as error:
        raise ModelError(
            f"model {spec.name!r} fails on images of shape {spec.input_shape} (are they too small "
            f"for it? a larger image_size may help): {error}"
        ) from error
    finally:
        for module, training in modes:
            module.training = training
    expected = (PROBE_BATCH, spec.classes)
    came = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
    if came != expected:
        raise ModelError(
            f"model {spec.name!r} must give logits of shape {expected} for {PROBE_BATCH} images, "
            f"but it gives {came}: let its last layer have one output per class and return only it"
        )
