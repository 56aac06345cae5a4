"""Turns a float module into the plain graph that gets quantized: functional, norms folded or kept.

Knows graphs of ATen operators; nothing of int8.
"""

import copy
import operator
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights

from model_compression.evaluation import device_of

aten = torch.ops.aten

CONVOLUTIONS = (aten.conv1d.default, aten.conv2d.default)
LINEAR = aten.linear.default
DROPOUTS = (aten.dropout.default, aten.feature_dropout.default)

_POINTWISE = {3: (aten.conv1d.default, 1), 4: (aten.conv2d.default, 2)}
"""By the number of axes of a batch: its convolution and how many axes that runs along."""

_IMAGE_AXES = 4
"""Of a batch of images or feature maps: (N, C, H, W)."""


def capture(module: nn.Module, input_shape: Sequence[int], keep_norms: bool = False) -> GraphModule:
    """Exports a copy of ``module`` in evaluation mode as one graph, with any number of images.

    Operations in place become ordinary ones, ``view`` becomes ``reshape`` (a graph that was
    exported on dense tensors must also take ``channels_last`` ones), and batch norms are folded:
    ``w' = w * gamma / sigma``, ``b' = (b - mu) * gamma / sigma + beta``.

    Args:
        module: The float network; it is left as it is.
        input_shape: (C, H, W) of one image.
        keep_norms: Whether a batch norm that could be folded into a layer stays, as a module that
            can be trained, under the path that it has in ``module``.

    Raises:
        ValueError: If the network cannot be exported for any number of images, or if the graph
            does not compute what the module computes.
    """
    module, images = _copy_and_probe(module, input_shape)
    with torch.no_grad():
        expected = module(images)
    graph_module = _export(module, images)
    _make_functional(graph_module)
    if keep_norms:
        _keep_batch_norms(graph_module)
    fold_batch_norms(graph_module)
    with torch.no_grad():
        actual = graph_module(images)
    tolerance = 1e-3 * max(1.0, expected.abs().max().item())
    if not torch.allclose(actual, expected, rtol=0.0, atol=tolerance):
        raise ValueError(
            "The graph captured for quantization differs from the network by "
            f"{(actual - expected).abs().max().item():.3g} on a probe input. The network probably "
            "changes a tensor in place through a view of it: write that operation out of place."
        )
    return graph_module


def layer_paths(graph_module: GraphModule) -> list[str]:
    """Paths of the layers that have a stored weight, in the order in which they are run."""
    layers = (n for n in graph_module.graph.nodes if n.target in (*CONVOLUTIONS, LINEAR))
    paths = (layer_path(layer.args[1]) for layer in layers)
    return list(dict.fromkeys(path for path in paths if path is not None))


def layer_path(weight: object) -> str | None:
    """The path of the layer whose weight a node reads; ``None`` if it reads no stored one."""
    is_stored = isinstance(weight, Node) and weight.op == "get_attr"
    return _owner(weight) if is_stored else None


def fold_batch_norms(graph_module: GraphModule) -> None:
    """Folds every batch norm that has running statistics into a layer, in place.

    It goes into the convolution or linear layer that it alone follows. Where there is none (a
    pre-activation network normalises a sum), it becomes a depthwise convolution of size 1, which
    can be quantized like any other; a batch norm would stay float in the middle of integers.
    """
    for norm in list(graph_module.graph.nodes):
        if norm.target is not aten.batch_norm.default or norm.args[3] is None:
            continue
        layer = norm.args[0]
        if _is_foldable(layer):
            _fold(graph_module, layer, norm)
        elif norm.meta["val"].ndim in _POINTWISE:
            _make_depthwise(graph_module, norm)
    graph_module.graph.eliminate_dead_code()
    graph_module.graph.lint()
    graph_module.recompile()


def kept_norms(graph_module: GraphModule) -> Iterator[tuple[Node, Node]]:
    """Each layer whose batch norm was kept, with the node that runs the norm."""
    for node in graph_module.graph.nodes:
        if node.op == "call_module" and isinstance(
            graph_module.get_submodule(str(node.target)), _BatchNorm
        ):
            yield node.args[0], node


def norm_owners(module: nn.Module, input_shape: Sequence[int]) -> dict[str, str]:
    """Where ``capture`` puts each batch norm: its path in ``module`` -> the path that holds it.

    The latter is that of the layer that it is folded into, or its own.
    """
    graph_module = _export(*_copy_and_probe(module, input_shape))
    owners = {}
    for norm in graph_module.graph.nodes:
        if norm.target is aten.batch_norm.default and norm.args[3] is not None:
            layer = norm.args[0]
            holder = layer.args[1] if _is_foldable(layer) else norm.args[3]
            owners[_owner(norm.args[3])] = _owner(holder)
    return owners


def _copy_and_probe(module: nn.Module, input_shape: Sequence[int]) -> tuple[nn.Module, Tensor]:
    """A copy in evaluation mode, and two images to run through it, always the same ones."""
    module = copy.deepcopy(module).eval()
    generator = torch.Generator().manual_seed(0)
    return module, torch.randn((2, *input_shape), generator=generator).to(device_of(module))


def _export(module: nn.Module, images: Tensor) -> GraphModule:
    batch = torch.export.Dim("batch", min=1, max=2**20)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.export(module, (images,), dynamic_shapes=({0: batch},))
            return program.module(check_guards=False)
    except Exception as error:  # torch.export raises whatever went wrong inside of it
        raise ValueError(
            f"{type(module).__name__} cannot be exported as one graph for any number of images, "
            "which quantization needs. Its forward must not branch on values nor fix the batch "
            f"size. torch.export says: {error}"
        ) from error


def _make_functional(graph_module: GraphModule) -> None:
    graph = graph_module.graph
    for node in list(graph.nodes):
        if node.target is aten.view.default:
            node.target = aten.reshape.default
        functional = _functional_form(node.target)
        if functional is not None:
            changed = node.args[0]
            node.target = functional
            for user in [user for user in changed.users if user > node]:
                user.replace_input_with(changed, node)
    graph.lint()
    graph_module.recompile()


def _functional_form(target: Any) -> Any:
    """``aten.relu`` for ``aten.relu_``; None for what does not work in place."""
    if not isinstance(target, torch._ops.OpOverload) or target.namespace != "aten":
        return None
    name = target.overloadpacket.__name__
    packet = getattr(aten, name.removesuffix("_"), None) if name.endswith("_") else None
    return None if packet is None else getattr(packet, target._overloadname, None)


def _keep_batch_norms(graph_module: GraphModule) -> None:
    """Makes each batch norm that alone follows a layer a module, which has modes, in place."""
    for node in list(graph_module.graph.nodes):
        if node.target is not aten.batch_norm.default or node.args[3] is None:
            continue
        if not _is_foldable(node.args[0]):
            continue
        path = _owner(node.args[3])
        _set_submodule(graph_module, path, _norm_module(graph_module, node))
        with graph_module.graph.inserting_before(node):
            norm = graph_module.graph.call_module(path, (node.args[0],))
        norm.meta = dict(node.meta)
        node.replace_all_uses_with(norm)
        graph_module.graph.erase_node(node)
    graph_module.graph.eliminate_dead_code()
    graph_module.graph.lint()
    graph_module.recompile()


def _norm_module(graph_module: GraphModule, node: Node) -> _BatchNorm:
    gamma, beta, mean, variance = (_tensor(graph_module, each) for each in node.args[1:5])
    momentum, eps = (float(str(value)) for value in node.args[6:8])
    kind = nn.BatchNorm2d if node.meta["val"].ndim == _IMAGE_AXES else nn.BatchNorm1d
    norm = kind(mean.numel(), eps, momentum, affine=gamma is not None).to(mean.device)
    norm.running_mean, norm.running_var = mean.clone(), variance.clone()
    if gamma is not None:
        norm.weight, norm.bias = (nn.Parameter(each.detach().clone()) for each in (gamma, beta))
    return norm.eval()


def _set_submodule(graph_module: GraphModule, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(graph_module.get_submodule(parent), name, module)


def _is_foldable(layer: Any) -> bool:
    return (
        isinstance(layer, Node)
        and (layer.target in CONVOLUTIONS or _is_plain_linear(layer))
        and len(layer.users) == 1
        and all(len(node.users) == 1 for node in layer.args[1:3] if isinstance(node, Node))
    )


def _is_plain_linear(node: Node) -> bool:
    return node.target is LINEAR and node.meta["val"].ndim == 2


def _fold(graph_module: GraphModule, layer: Node, norm: Node) -> None:
    weight_node, bias_node = layer.args[1], layer.args[2] if len(layer.args) > 2 else None
    fuse = fuse_linear_bn_weights if layer.target is LINEAR else fuse_conv_bn_weights
    weight, bias = fuse(
        _tensor(graph_module, weight_node),
        _tensor(graph_module, bias_node),
        **_statistics(graph_module, norm),
    )
    path = _owner(weight_node)
    arguments = _set_parameters(graph_module, path, weight, bias, before=layer)
    layer.args = (layer.args[0], *arguments, *layer.args[3:])
    norm.replace_all_uses_with(layer)


def _make_depthwise(graph_module: GraphModule, norm: Node) -> None:
    convolution, dimensions = _POINTWISE[norm.meta["val"].ndim]
    mean: Tensor = _tensor(graph_module, norm.args[3])
    channels = mean.numel()
    identity = mean.new_ones(channels, 1, *(1,) * dimensions)
    weight, bias = fuse_conv_bn_weights(identity, None, **_statistics(graph_module, norm))
    arguments = _set_parameters(graph_module, _owner(norm.args[3]), weight, bias, before=norm)
    with graph_module.graph.inserting_before(norm):
        layer = graph_module.graph.call_function(
            convolution,
            (
                norm.args[0],
                *arguments,
                [1] * dimensions,
                [0] * dimensions,
                [1] * dimensions,
                channels,
            ),
        )
    layer.meta = dict(norm.meta)
    norm.replace_all_uses_with(layer)


def _statistics(graph_module: GraphModule, norm: Node) -> dict[str, Any]:
    gamma, beta, mean, variance = (_tensor(graph_module, node) for node in norm.args[1:5])
    return {"bn_rm": mean, "bn_rv": variance, "bn_eps": norm.args[7], "bn_w": gamma, "bn_b": beta}


def _set_parameters(
    graph_module: GraphModule, path: str, weight: Tensor, bias: Tensor, before: Node
) -> tuple[Node, Node]:
    """Makes the two tensors parameters at ``path`` and gives the nodes that read them."""
    owner = graph_module.get_submodule(path)
    nodes = []
    for name, tensor in (("weight", weight), ("bias", bias)):
        setattr(owner, name, nn.Parameter(tensor.detach().clone()))
        with graph_module.graph.inserting_before(before):
            node = graph_module.graph.get_attr(f"{path}.{name}" if path else name)
        node.meta["val"] = before.meta["val"].new_empty(tensor.shape)
        nodes.append(node)
    return nodes[0], nodes[1]


def _owner(node: Any) -> str:
    return str(node.target).rpartition(".")[0]


def _tensor(graph_module: GraphModule, node: Any) -> Any:
    """The parameter or buffer that ``node`` reads; None where a layer has none."""
    return None if node is None else operator.attrgetter(node.target)(graph_module)
