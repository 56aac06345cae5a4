"""Folds the batch norms that a network kept while it learned its grid into the layers before them.

Knows prepared graphs whose weights lie on their grids; nothing of training.
"""

import operator

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node
from torch.nn.modules.batchnorm import _BatchNorm

from model_compression.quantization.capture import kept_norms, layer_path
from model_compression.quantization.weight_quantizers import WeightQuantizer


@torch.no_grad()
def fold_kept_norms(graph_module: GraphModule) -> None:
    """Folds each kept batch norm into its layer's weight, bias and steps, in place.

    With ``f = gamma / sigma`` a channel, ``norm(conv(s q, x) + b) = conv(f s q, x) + f (b - mu) +
    beta``: the integers ``q`` stay what they are, up to the sign of ``f``, and the step becomes
    ``|f| s``. So nothing is rounded anew.

    Args:
        graph_module: A prepared graph whose weights were put on their grids, with a step a channel.
    """
    graph = graph_module.graph
    for layer, node in list(kept_norms(graph_module)):
        norm = graph_module.get_submodule(str(node.target))
        assert isinstance(norm, _BatchNorm)
        factors, shift = _affine(norm)
        read, quantizer = _weight(graph_module, layer)
        weight = graph_module.get_parameter(str(read.target))
        weight.mul_(factors.view(-1, *(1,) * (weight.ndim - 1)))
        if quantizer is not None:
            quantizer.scale_steps(factors.abs())
        bias_node = layer.args[2] if len(layer.args) > 2 else None
        bias = torch.zeros_like(factors)
        if isinstance(bias_node, Node):
            bias = operator.attrgetter(str(bias_node.target))(graph_module)
        path = layer_path(read)
        assert path is not None
        owner = graph_module.get_submodule(path)
        owner.bias = nn.Parameter(bias * factors + shift)
        with graph.inserting_before(layer):
            read_bias = graph.get_attr(f"{path}.bias" if path else "bias")
        read_bias.meta["val"] = node.meta["val"].new_empty(factors.shape)
        layer.args = (*layer.args[:2], read_bias, *layer.args[3:])
        node.replace_all_uses_with(layer)
        graph.erase_node(node)
        graph_module.delete_submodule(str(node.target))
    graph.eliminate_dead_code()
    graph.lint()
    graph_module.recompile()


def _affine(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """``x -> factor * x + shift`` is what the norm does in evaluation mode; both (channels,)."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    factors = (norm.running_var + norm.eps).rsqrt()
    if norm.affine:
        factors = factors * norm.weight
    shift = -norm.running_mean * factors
    return factors, shift + norm.bias if norm.affine else shift


def _weight(graph_module: GraphModule, layer: Node) -> tuple[Node, WeightQuantizer | None]:
    """The node that reads a layer's stored weight, and what rounds it."""
    node = layer.args[1]
    assert isinstance(node, Node)
    if node.op == "get_attr":
        return node, None
    quantizer, read = graph_module.get_submodule(str(node.target)), node.args[0]
    assert isinstance(quantizer, WeightQuantizer)
    assert isinstance(read, Node)
    return read, quantizer
