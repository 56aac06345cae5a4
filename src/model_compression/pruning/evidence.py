"""What training images tell about weights: gradients, their squares, and sizes of inputs.

Knows a network and labelled batches; what is concluded is the importances' business.
"""

import copy
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from model_compression.evaluation import device_of
from model_compression.images import Batch
from model_compression.pruning.selection import prunable_layers

Loss = Callable[[Tensor, Tensor], Tensor]
"""Of logits, (N, classes), and labels, (N,): the mean over images."""


@dataclass(frozen=True)
class Evidence:
    """What was seen on some batches; empty where nothing was asked for."""

    gradients: Mapping[str, Tensor] = field(default_factory=dict)
    """By parameter name, the gradient of the mean loss over all images; the parameter's shape."""
    squared_gradients: Mapping[str, Tensor] = field(default_factory=dict)
    """By parameter name, the mean over images of the squared gradient of an image's loss: the
    diagonal of the empirical Fisher information; the parameter's shape."""
    input_norms: Mapping[str, Tensor] = field(default_factory=dict)
    """By the path of a convolution or linear layer, the L2 norm of each of its input channels over
    images and positions; shape (in_channels,)."""


def gather(
    module: nn.Module,
    batches: Iterable[Batch],
    needs: Collection[str],
    loss: Loss = functional.cross_entropy,
) -> Evidence:
    """Looks at a network on labelled images, in evaluation mode; ``module`` is left as it is.

    Squared gradients take a backward pass for each image, the others one for each batch.

    Args:
        module: The network.
        batches: Normalised images with labels, on any device.
        needs: Names of ``Evidence``'s fields; the others stay empty.
        loss: What gradients are of.

    Raises:
        ValueError: If there is no image.
    """
    network = copy.deepcopy(module).eval().requires_grad_(True)
    device = device_of(module)
    parameters = dict(network.named_parameters())
    means = {name: torch.zeros_like(each) for name, each in parameters.items()}
    squares = {name: torch.zeros_like(each) for name, each in parameters.items()}
    seen = 0
    with torch.enable_grad(), _InputNorms(network, "input_norms" in needs) as norms:
        for batch in batches:
            images, labels = batch.images.to(device), batch.labels.to(device)
            seen += len(labels)
            value = loss(network(images), labels) * len(labels)
            if "gradients" in needs:
                _add(means, parameters, value, 1)
            if "squared_gradients" in needs:
                norms.pause()
                for image, label in zip(images.split(1), labels.split(1), strict=True):
                    _add(squares, parameters, loss(network(image), label), 2)
                norms.go_on()
    if seen == 0:
        raise ValueError("Evidence needs at least one image; it was given none.")
    return Evidence(
        gradients=_shared_out(means, seen) if "gradients" in needs else {},
        squared_gradients=_shared_out(squares, seen) if "squared_gradients" in needs else {},
        input_norms={path: total.sqrt() for path, total in norms.squares.items()},
    )


def _add(
    sums: dict[str, Tensor], parameters: dict[str, nn.Parameter], loss: Tensor, power: int
) -> None:
    gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    for name, gradient in zip(parameters, gradients, strict=True):
        if gradient is not None:
            sums[name] += gradient**power


def _shared_out(sums: dict[str, Tensor], count: int) -> dict[str, Tensor]:
    return {name: total / count for name, total in sums.items()}


class _InputNorms:
    """While it is entered, adds up the squares of what enters each layer, by channel."""

    def __init__(self, network: nn.Module, wanted: bool) -> None:
        self.squares: dict[str, Tensor] = {}
        self._layers = prunable_layers(network) if wanted else {}
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []
        self._paused = False

    def pause(self) -> None:
        """Looks away."""
        self._paused = True

    def go_on(self) -> None:
        """Looks again."""
        self._paused = False

    def __enter__(self) -> "_InputNorms":
        for path, layer in self._layers.items():
            self._hooks.append(layer.register_forward_pre_hook(self._watch(path)))
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _watch(self, path: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def add(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            if self._paused:
                return
            dim = inputs[0].ndim - 1 if isinstance(layer, nn.Linear) else 1
            total = inputs[0].detach().float().pow(2).transpose(0, dim).flatten(1).sum(1)
            self.squares[path] = self.squares.get(path, torch.zeros_like(total)) + total

        return add
