"""Cross-layer equalisation: gives the channels between two layers ranges of one size.

Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, ICCV 2019,
section 4.1. Knows captured float graphs; nothing of bits or images.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from model_compression.quantization.capture import CONVOLUTIONS, DROPOUTS, LINEAR, aten
from model_compression.quantization.layers import Layer, layers_of

_POINTWISE = (aten.relu.default, aten.leaky_relu.default, *DROPOUTS)
"""``f(s x) = s f(x)`` for every s > 0, value by value. A clipped activation isn't among them."""

_POOLINGS = (
    aten.max_pool1d.default,
    aten.max_pool2d.default,
    aten.adaptive_max_pool2d.default,
    aten.avg_pool1d.default,
    aten.avg_pool2d.default,
    aten.adaptive_avg_pool1d.default,
    aten.adaptive_avg_pool2d.default,
)
"""Likewise, channel by channel."""

_FLATTENING = (aten.flatten.using_ints, aten.reshape.default, aten.view.default)

_SETTLED = 1e-4
"""A factor closer than this to 1 changes no range that anybody could tell."""


@dataclass(frozen=True, eq=False)
class _Pair:
    first: Layer
    second: Layer


def equalise(graph_module: GraphModule, iterations: int = 40) -> list[tuple[str, str]]:
    """Moves scale between consecutive layers so that weights use their range evenly, in place.

    Channel i's weights and bias in the first layer are divided by ``s_i = sqrt(r1_i / r2_i)`` and
    its weights in the second multiplied by it; r1_i and r2_i are their largest absolute weights,
    both ``sqrt(r1_i r2_i)`` afterwards. The network computes the same, because what is between the
    layers lets a positive factor through: ReLU or leaky ReLU, dropout, pooling, the mean over
    positions and flattening. Pairs are gone through in order until no factor moves; so the three
    layers of a depthwise separable block come to one range too.

    Pairs are left out where the value between is used twice (a residual sum), where something
    clips it (ReLU6, hardtanh) or is not homogeneous, and where a layer shares its parameters. A
    channel without weights in either layer stays as it is.

    Args:
        graph_module: A captured float graph.
        iterations: Most rounds through all pairs.

    Returns:
        The paths of the weights of each pair, in order.

    Raises:
        ValueError: If ``iterations`` isn't positive.
    """
    if iterations < 1:
        raise ValueError(f"Equalisation takes at least one iteration, not {iterations}.")
    layers = {layer.node: layer for layer in layers_of(graph_module).values()}
    pairs = list(_pairs(layers))
    with torch.no_grad():
        for _ in range(iterations):
            if max((_equalise_pair(pair) for pair in pairs), default=0.0) < _SETTLED:
                break
    return [(pair.first.key.weight, pair.second.key.weight) for pair in pairs]


def _pairs(layers: dict[Node, Layer]) -> Iterator[_Pair]:
    for layer in layers.values():
        node = layer.node
        is_flat = node.target is LINEAR
        while len(node.users) == 1:
            (user,) = node.users
            if user.args[0] is not node:
                break
            if user in layers:
                fits = user.target is LINEAR if is_flat else user.target in CONVOLUTIONS
                if fits and not layer.is_shared and not layers[user].is_shared:
                    yield _Pair(layer, layers[user])
                break
            if user.target in _POINTWISE or (user.target in _POOLINGS and not is_flat):
                pass
            elif not is_flat and _is_mean_over_positions(user):
                is_flat = len(_shape(user)) == 2
            elif not is_flat and _is_flattening(user):
                is_flat = True
            else:
                break
            node = user


def _is_mean_over_positions(node: Node) -> bool:
    axes = node.args[1] if node.target is aten.mean.dim else None
    before = _shape(node.args[0])
    if not isinstance(axes, Sequence) or len(before) < 3 or node.kwargs:
        return False
    averaged = {axis % len(before) for axis in axes if isinstance(axis, int)}
    keeps = len(_shape(node)) == len(before)
    # Where only some of the positions' axes vanish, the next layer sees other axes than this one.
    return not averaged & {0, 1} and (keeps or averaged == set(range(2, len(before))))


def _is_flattening(node: Node) -> bool:
    """Whether (N, C, ...) becomes (N, C * ...), the values of a channel side by side."""
    before, after = _shape(node.args[0]), _shape(node)
    if node.target not in _FLATTENING or len(after) != 2 or len(before) < 3:
        return False
    sizes = [size for size in before[1:] if isinstance(size, int)]
    return len(sizes) == len(before) - 1 and math.prod(sizes) == after[1]


def _shape(node: object) -> tuple[object, ...]:
    value = node.meta.get("val") if isinstance(node, Node) else None
    return tuple(value.shape) if isinstance(value, Tensor) else ()


def _equalise_pair(pair: _Pair) -> float:
    """Equalises one pair; the largest ``|log s|`` of its channels."""
    first, second = pair.first.weight, _by_input_channel(pair)
    range_1 = first.abs().flatten(1).amax(1)
    range_2 = second.abs().amax((1, 3)).flatten()
    is_live = (range_1 > 0) & (range_2 > 0)
    # Each root for itself: the quotient of two floats may overflow.
    factor = torch.where(is_live, range_1.sqrt() / range_2.sqrt(), 1.0)
    factor = torch.where(torch.isfinite(factor) & (factor > 0), factor, 1.0)
    first /= factor.view(-1, *(1,) * (first.ndim - 1))
    if pair.first.bias is not None:
        pair.first.bias.div_(factor)
    second *= factor.view(second.shape[0], 1, second.shape[2], 1)
    return factor.log().abs().max().item()


def _by_input_channel(pair: _Pair) -> Tensor:
    """The second weight as a view, (groups, outputs of a group, channels of a group, the rest)."""
    channels, weight = pair.first.weight.shape[0], pair.second.weight
    if pair.second.node.target is LINEAR:
        return weight.view(1, weight.shape[0], channels, -1)
    groups = channels // weight.shape[1]
    return weight.view(groups, weight.shape[0] // groups, weight.shape[1], -1)
