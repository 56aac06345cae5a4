"""Gives a trained classifier further classes; what it knows of the ones that it has stays.

Knows the last linear layer; why there are new classes is others' business.
"""

import copy

import torch
from torch import nn

from model_compression.models.architecture import ModelError
from model_compression.models.spec import ModelSpec, probe


def widen_classifier(
    module: nn.Module, spec: ModelSpec, classes: int
) -> tuple[nn.Module, ModelSpec]:
    """A copy of a network with more logits: the first ones are, bit for bit, those that it had.

    The last linear layer gets a row for each new class, drawn as that layer draws its first weights
    (from torch's global generator).

    Args:
        module: The trained network; it is left as it is.
        spec: What it is.
        classes: How many there are to be in all, new ones included.

    Returns:
        The wider copy, its parts in the modes that they had, and its spec.

    Raises:
        ModelError: If there are no new classes, or if the logits don't come from a linear layer.
    """
    if classes <= spec.classes:
        raise ModelError(
            f"model {spec.name!r} knows {spec.classes} classes already, so it can't be widened to "
            f"{classes}: give a larger number"
        )
    widened = copy.deepcopy(module)
    linear = [layer for layer in widened.modules() if isinstance(layer, nn.Linear)]
    if not linear or linear[-1].out_features != spec.classes:
        last = f"its last one has {linear[-1].out_features} outputs" if linear else "it has none"
        raise ModelError(
            f"model {spec.name!r} can't be given new classes: its {spec.classes} logits must come "
            f"from a linear layer, and {last}. Take another model, such as a resnet"
        )
    _add_rows(linear[-1], classes)
    wider = spec.model_copy(update={"classes": classes})
    probe(widened, wider)
    return widened, wider


def _add_rows(layer: nn.Linear, rows: int) -> None:
    fresh = nn.Linear(
        layer.in_features,
        rows,
        bias=layer.bias is not None,
        device=layer.weight.device,
        dtype=layer.weight.dtype,
    )
    with torch.no_grad():
        fresh.weight[: layer.out_features] = layer.weight
        if layer.bias is not None:
            fresh.bias[: layer.out_features] = layer.bias
    layer.weight, layer.bias, layer.out_features = fresh.weight, fresh.bias, rows
