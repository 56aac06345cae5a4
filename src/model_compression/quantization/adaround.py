"""AdaRound: learns whether each weight is rounded up or down, layer by layer.

Nagel et al., Up or Down? Adaptive Rounding for Post-Training Quantization, ICML 2020, eq. 21-25.
Knows prepared graphs whose weights' steps are set; how those were chosen is others' business.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.fx import GraphModule, Node

from model_compression.parameters import Parameters
from model_compression.quantization.capture import LINEAR, aten
from model_compression.quantization.layers import (
    Layer,
    LayerInterpreter,
    LayerKey,
    evaluating,
    matched_layers,
    walk,
)

_ACTIVATIONS = (aten.relu.default, aten.relu6.default, aten.hardtanh.default)

_LOW, _HIGH = -0.1, 1.1
"""γ and ζ: how far the sigmoid is stretched, so that it reaches 0 and 1 (eq. 23)."""

_ON_GRID = 1e-4
"""A weight this close to an integer of steps has nothing to choose but float's own rounding."""


class AdaRoundSettings(Parameters):
    """How the rounding of weights is learned."""

    steps: int = Field(default=1000, ge=1)
    """Steps of Adam for each layer."""
    learning_rate: float = Field(default=0.01, gt=0)
    """Adam's learning rate."""
    beta: tuple[float, float] = (20.0, 2.0)
    """Exponent of the regulariser, from its beginning to the last step (by a cosine)."""
    regularisation: float = Field(default=0.01, ge=0)
    """Weight of the regulariser, which drives every weight to one side."""
    warm_start: float = Field(default=0.2, ge=0, lt=1)
    """Share of the steps without the regulariser."""
    positions: int = Field(default=16384, ge=1)
    """Output positions that a layer is reconstructed at, drawn from all images."""
    batch_size: int = Field(default=512, ge=1)
    """Positions of a step."""
    keep_zeros: bool = True
    """Whether weights that are exactly 0, being pruned, stay 0."""

    @model_validator(mode="after")
    def _falling(self) -> "AdaRoundSettings":
        if not self.beta[0] >= self.beta[1] > 0:
            raise ValueError(f"beta falls from its first value to its second, not {self.beta}")
        return self


@dataclass(frozen=True)
class Reconstruction:
    """How well a layer's output was reconstructed at the positions that were looked at."""

    weight: str
    """Path of the layer's weight."""
    nearest_error: float
    """Mean squared error with each weight rounded to the nearest."""
    error: float
    """With the weights rounded as they are now; never more."""


@dataclass(frozen=True, eq=False)
class _Task:
    """Outputs to be reconstructed, by groups: (G, P, K), (G, P, O/G) and what follows them."""

    inputs: Tensor
    targets: Tensor
    bias: Tensor
    activation: Callable[[Tensor], Tensor]

    def errors(self, weight: Tensor, rows: Tensor | slice = slice(None)) -> Tensor:
        """Squared errors, (G, rows, O/G), with ``weight``, (G, O/G, K)."""
        outputs = torch.bmm(self.inputs[:, rows], weight.mT) + self.bias
        return (self.activation(outputs) - self.targets[:, rows]).square()


def adaptive_rounding(
    prepared: GraphModule,
    reference: GraphModule,
    batches: Sequence[Tensor],
    settings: AdaRoundSettings | None = None,
    seed: int = 0,
) -> list[Reconstruction]:
    """Rounds each layer's weights so that its output comes closest to the float one, in place.

    Layer by layer, in order: the input is what the quantized network so far gives, the target what
    the float network gives there, both after the activation function where one alone follows
    (asymmetric reconstruction, eq. 25). A channel whose learned rounding reconstructs worse than
    rounding to the nearest keeps the nearest. The weights end up at ``scale * integer``, so their
    quantizers leave them as they are.

    Args:
        prepared: The graph with fake quantizers whose ranges are set. A weight's quantizer has the
            attributes ``scale``, shape (out,), ``quant_min`` and ``quant_max`` after it has seen
            the weight, and keeps the scale. Layers without one, and layers that share a weight or
            a bias, stay as they are.
        reference: The captured float graph that it was made from; it is left as it is.
        batches: Normalised images, each (N, C, H, W).
        settings: The defaults if left out.
        seed: Of the positions and their order; torch's own random state is left alone.

    Returns:
        How well each layer was reconstructed, in order.

    Raises:
        ValueError: If there is no batch, or ``reference`` is a graph of other layers.
    """
    settings = settings or AdaRoundSettings()
    quantized, floating = matched_layers(prepared, reference)
    generator = torch.Generator().manual_seed(seed)
    reconstructions = []
    with evaluating(prepared, reference):
        wanted = _sample_targets(reference, floating, batches, settings.positions, generator)
        for key, runs in walk(prepared, batches):
            layer = quantized[key]
            if layer.is_shared or layer.quantizer is None:
                continue
            positions, targets = wanted.pop(key)
            inputs = torch.cat(
                [
                    _input_rows(layer, run.input_of(layer.node), at)
                    for run, at in zip(runs, positions, strict=True)
                ]
            )
            task = _task(layer, floating[key], inputs, torch.cat(targets))
            reconstructions.append(_round_layer(layer, task, settings, generator))
    return reconstructions


def _sample_targets(
    reference: GraphModule,
    layers: dict[LayerKey, Layer],
    batches: Sequence[Tensor],
    positions: int,
    generator: torch.Generator,
) -> dict[LayerKey, tuple[list[Tensor], list[Tensor]]]:
    """By layer, and batch by batch: positions of its float output, and the values, (P, O), there.

    A position is an index into the images and places of the output, the channels left out.
    """
    images_in_all = sum(len(images) for images in batches)
    sampled: dict[LayerKey, tuple[list[Tensor], list[Tensor]]] = {key: ([], []) for key in layers}

    def observe(key: LayerKey, _: Tensor, output: Tensor) -> None:
        rows = output.movedim(layers[key].channel_axis, -1)
        count = math.prod(rows.shape[:-1])
        share = math.ceil(positions * len(output) / images_in_all)
        at = torch.randperm(count, generator=generator)[:share].to(output.device)
        places = torch.unravel_index(at, rows.shape[:-1])
        sampled[key][0].append(at)
        sampled[key][1].append(rows[places])

    interpreter = LayerInterpreter(reference, observe)
    for images in batches:
        interpreter.run(images)
    return sampled


def _input_rows(layer: Layer, x: Tensor, at: Tensor) -> Tensor:
    """What the layer multiplies its weight with at output positions ``at``: (P, I, kernel)."""
    if layer.node.target is LINEAR:
        return x.flatten(0, -2)[at, :, None]
    kernel = layer.weight.shape[2:]
    dimensions = len(kernel)
    stride, padding, dilation = (
        _geometry(layer.node, index, dimensions, default)
        for index, default in ((3, 1), (4, 0), (5, 1))
    )
    sizes = [
        (size + 2 * pad - step * (length - 1) - 1) // jump + 1
        for size, pad, step, length, jump in zip(
            x.shape[2:], padding, dilation, kernel, stride, strict=True
        )
    ]
    padded = torch.nn.functional.pad(x, [pad for pad in reversed(padding) for _ in range(2)])
    image, *places = torch.unravel_index(at, (len(x), *sizes))
    index: list[Tensor] = []
    for axis, (place, jump, step, length) in enumerate(
        zip(places, stride, dilation, kernel, strict=True)
    ):
        taps = place[:, None] * jump + torch.arange(length, device=x.device) * step
        index.append(
            taps.view(-1, *(length if other == axis else 1 for other in range(dimensions)))
        )
    image = image.view(-1, *(1,) * dimensions)
    # With the channels last, an index of the other axes gives (P, *kernel, I).
    rows = padded.movedim(1, -1)[(image, *index)]
    return rows.flatten(1, -2).mT


def _geometry(node: Node, index: int, dimensions: int, default: int) -> list[int]:
    """Argument ``index`` of a convolution, one number an axis."""
    value = node.args[index] if len(node.args) > index else default
    numbers = list(value) if isinstance(value, Sequence) else [value]
    sizes = [number for number in numbers if isinstance(number, int)]
    return sizes * dimensions if len(sizes) == 1 else sizes


def _task(layer: Layer, floating: Layer, inputs: Tensor, targets: Tensor) -> _Task:
    groups = inputs.shape[1] // layer.weight.shape[1]
    count, outputs = targets.shape
    bias = targets.new_zeros(outputs) if layer.bias is None else layer.bias
    activation = _following_activation(floating.node)
    return _Task(
        inputs.reshape(count, groups, -1).transpose(0, 1).contiguous(),
        activation(targets).view(count, groups, -1).transpose(0, 1).contiguous(),
        bias.view(groups, 1, -1),
        activation,
    )


def _following_activation(node: Node) -> Callable[[Tensor], Tensor]:
    """The activation function that alone uses ``node``'s output; the identity without one."""
    if len(node.users) == 1:
        (user,) = node.users
        if user.target in _ACTIVATIONS and user.args[0] is node:
            function, arguments = user.target, user.args[1:]
            assert callable(function)
            return lambda outputs: function(outputs, *arguments)
    return lambda outputs: outputs


def _round_layer(
    layer: Layer, task: _Task, settings: AdaRoundSettings, generator: torch.Generator
) -> Reconstruction:
    """Puts the layer's weights on the grid; what that did to its output."""
    quantizer, weight = layer.quantizer, layer.weight
    assert quantizer is not None
    quantizer(weight)  # a quantizer that measures its weight has done so now
    scale = quantizer.scale
    assert isinstance(scale, Tensor)
    groups = task.inputs.shape[0]
    smallest, largest = float(quantizer.quant_min), float(quantizer.quant_max)  # type: ignore[arg-type]
    step = scale.expand(weight.shape[0]).reshape(groups, -1, 1)
    ratio = weight.reshape(groups, step.shape[1], -1) / step
    nearest = ratio.round()
    is_fixed = (ratio - nearest).abs() < _ON_GRID
    if not settings.keep_zeros:
        is_fixed &= ratio != 0
    floor = torch.where(is_fixed, nearest, ratio.floor())

    def rounded(up: Tensor) -> Tensor:
        return (floor + up.masked_fill(is_fixed, 0.0)).clamp(smallest, largest)

    learned = rounded((_learn(task, ratio, step, rounded, settings, generator) >= 0.5).float())
    nearest = nearest.clamp(smallest, largest)
    nearest_errors = task.errors(nearest * step).double().mean(1)
    errors = task.errors(learned * step).double().mean(1)
    is_better = errors < nearest_errors
    integers = torch.where(is_better[:, :, None], learned, nearest)
    weight.copy_((integers * step).view_as(weight))
    return Reconstruction(
        layer.key.weight,
        nearest_errors.mean().item(),
        torch.minimum(errors, nearest_errors).mean().item(),
    )


def _learn(
    task: _Task,
    ratio: Tensor,
    step: Tensor,
    rounded: Callable[[Tensor], Tensor],
    settings: AdaRoundSettings,
    generator: torch.Generator,
) -> Tensor:
    """The h of each weight, near 0 for down and near 1 for up, in the shape of ``ratio``."""
    rest = ratio - ratio.floor()
    # At exactly 0 the clamped sigmoid has no gradient, so a zero that may move never would.
    rest = torch.where(rest == 0, 0.01, rest)
    start = -torch.log((_HIGH - _LOW) / (rest - _LOW) - 1)  # h is the remainder: nothing is rounded
    variable = start.requires_grad_()
    optimizer = torch.optim.Adam([variable], settings.learning_rate)
    count = task.inputs.shape[1]
    warm = int(settings.warm_start * settings.steps)
    for done in range(settings.steps):
        rows = torch.randint(count, (settings.batch_size,), generator=generator)
        with torch.enable_grad():
            up = _stretched(variable)
            errors = task.errors(rounded(up) * step, rows.to(ratio.device))
            loss = errors.sum((0, 2)).mean()
            if done >= warm:
                beta = _annealed(settings.beta, (done - warm) / max(settings.steps - warm, 1))
                undecided = 1 - (2 * up - 1).abs().pow(beta)
                loss = loss + settings.regularisation * undecided.sum()
            (variable.grad,) = torch.autograd.grad(loss, [variable])
        optimizer.step()
    return _stretched(variable.detach())


def _stretched(variable: Tensor) -> Tensor:
    """``h(V) = clamp(sigmoid(V) (ζ - γ) + γ, 0, 1)``."""
    return (torch.sigmoid(variable) * (_HIGH - _LOW) + _LOW).clamp(0, 1)


def _annealed(beta: tuple[float, float], share: float) -> float:
    """From ``beta``'s first value at share 0 to its second at 1, along half a cosine."""
    first, last = beta
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * share))
