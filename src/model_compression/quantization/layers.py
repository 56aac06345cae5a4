"""Walks through a captured graph layer by layer, with fake quantizers in it or without.

Knows graphs, their layers and what flows between them; what is changed in a layer is its caller's
business.
"""

import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Interpreter, Node

from model_compression.quantization.capture import CONVOLUTIONS, DROPOUTS, LINEAR


@dataclass(frozen=True)
class LayerKey:
    """What a layer is called in a graph with quantizers and in the one without alike."""

    weight: str
    """Path of its weight."""
    use: int
    """0 for the first layer that reads this weight, 1 for the next."""


@dataclass(frozen=True, eq=False)
class Layer:
    """A convolution or linear layer with a weight of its own graph.

    ``node.args`` are its input, its weight (quantized or not), its bias and its geometry.
    """

    key: LayerKey
    node: Node
    weight: Tensor
    bias: Tensor | None
    is_shared: bool
    """Whether another layer reads the same weight or the same bias."""
    quantizer: nn.Module | None
    """The module that rounds the weight."""

    @property
    def channel_axis(self) -> int:
        """The axis of the output's channels: the last of a linear layer's, the second of others."""
        return -1 if self.node.target is LINEAR else 1


def layers_of(graph_module: GraphModule) -> dict[LayerKey, Layer]:
    """The layers of a graph by their keys, in the order in which they are run."""
    found: list[tuple[Node, Node, Node | None]] = []
    for node in graph_module.graph.nodes:
        if node.target in (*CONVOLUTIONS, LINEAR):
            weight = _source(node.args[1])
            bias = _source(node.args[2]) if len(node.args) > 2 else None
            if weight is not None:
                found.append((node, weight, bias))
    readers: dict[str, int] = {}
    for _, *parameters in found:
        for parameter in parameters:
            if parameter is not None:
                target = str(parameter.target)
                readers[target] = readers.get(target, 0) + 1
    layers: dict[LayerKey, Layer] = {}
    for node, weight, bias in found:
        name = str(weight.target)
        key = LayerKey(name, sum(other.weight == name for other in layers))
        between = node.args[1]
        assert isinstance(between, Node)
        is_shared = readers[name] > 1 or (bias is not None and readers[str(bias.target)] > 1)
        layers[key] = Layer(
            key,
            node,
            _parameter(graph_module, weight),
            None if bias is None else _parameter(graph_module, bias),
            is_shared,
            graph_module.get_submodule(str(between.target))
            if between.op == "call_module"
            else None,
        )
    return layers


def matched_layers(
    prepared: GraphModule, reference: GraphModule
) -> tuple[dict[LayerKey, Layer], dict[LayerKey, Layer]]:
    """The layers of a graph with fake quantizers and of the float graph that it was made from.

    Raises:
        ValueError: If they are not the same layers.
    """
    quantized, floating = layers_of(prepared), layers_of(reference)
    if quantized.keys() != floating.keys():
        odd = sorted({key.weight for key in quantized.keys() ^ floating.keys()})
        raise ValueError(
            "The reference must be the captured float graph that the prepared one was made from; "
            f"the weights {odd} are a layer's in one of them only."
        )
    for key, layer in quantized.items():
        if layer.weight.shape != floating[key].weight.shape:
            raise ValueError(
                f"{key.weight!r} is of shape {tuple(layer.weight.shape)} in the prepared graph and "
                f"of shape {tuple(floating[key].weight.shape)} in the reference: give the graph "
                "that it was made from."
            )
    return quantized, floating


class LayerInterpreter(Interpreter):
    """Runs a graph on one batch, without dropout, and shows what goes through its layers.

    Args:
        graph_module: The graph.
        observe: Called with each layer's key, input and output after the layer was run.
    """

    def __init__(
        self,
        graph_module: GraphModule,
        observe: Callable[[LayerKey, Tensor, Tensor], None] | None = None,
    ) -> None:
        super().__init__(graph_module)
        self.observe = observe
        self.keys = {layer.node: key for key, layer in layers_of(graph_module).items()}

    def run_node(self, n: Node) -> object:
        """The value of node ``n``."""
        if n.target in DROPOUTS:
            return self.env[n.all_input_nodes[0]]
        value = super().run_node(n)
        if self.observe is not None and n in self.keys:
            self.observe(self.keys[n], self.input_of(n), value)
        return value

    def input_of(self, node: Node) -> Tensor:
        """What the layer ``node`` is given."""
        source = node.args[0]
        assert isinstance(source, Node)
        value = self.env[source]
        assert isinstance(value, Tensor)
        return value

    def begin(self, images: Tensor) -> None:
        """Sets a run on ``images`` up that ``advance`` carries on."""
        self.env = {}
        self.args_iter = iter([images])

    def advance(self, node: Node) -> None:
        """Runs ``node``, the next of the graph, and forgets what it was the last to need."""
        self.env[node] = self.run_node(node)
        for done in self.user_to_last_uses.get(node, []):
            del self.env[done]

    def renew_parameters(self, node: Node) -> None:
        """Reads the layer's weight and bias again, and rounds the weight as it is now."""
        for parameter in node.args[1:3]:
            if isinstance(parameter, Node):
                for source in parameter.all_input_nodes:
                    self.env[source] = self.run_node(source)
                self.env[parameter] = self.run_node(parameter)


def walk(
    graph_module: GraphModule, batches: Sequence[Tensor]
) -> Iterator[tuple[LayerKey, list[LayerInterpreter]]]:
    """Runs a graph on all batches side by side and stops before each layer.

    The caller may change the layer's weight and bias then, in place; what comes after it sees them
    changed. So all layers are treated in order in one run instead of a run a layer. The price is
    memory: the values that are alive at the same time, of all batches (at 2048 images of 28×28 and
    16 channels, 100 MB for each).

    Yields:
        The layer's key, and the runs, one a batch; ``input_of(layer.node)`` of each is the layer's
        input and ``run_node(layer.node)`` its output.

    Raises:
        ValueError: If there is no batch.
    """
    if not batches:
        raise ValueError("Walking through a graph needs at least one batch; it was given none.")
    keys = {layer.node: key for key, layer in layers_of(graph_module).items()}
    runs = [LayerInterpreter(graph_module) for _ in batches]
    for run, images in zip(runs, batches, strict=True):
        run.begin(images)
    for node in graph_module.graph.nodes:
        if node.op == "output":
            return
        if node in keys:
            yield keys[node], runs
            for run in runs:
                run.renew_parameters(node)
        for run in runs:
            run.advance(node)


@contextmanager
def evaluating(*graph_modules: GraphModule) -> Iterator[None]:
    """Holds graphs in evaluation mode, where no range follows the values, without gradients.

    Module by module, for torchao forbids ``eval()`` on a graph.
    """
    before = [(part, part.training) for graph in graph_modules for part in graph.modules()]
    for part, _ in before:
        part.training = False
    try:
        with torch.no_grad():
            yield
    finally:
        for part, training in before:
            part.training = training


def _source(node: object) -> Node | None:
    """The node that reads a parameter, through a fake quantizer if there is one."""
    if isinstance(node, Node) and node.op == "call_module":
        node = node.args[0]
    return node if isinstance(node, Node) and node.op == "get_attr" else None


def _parameter(graph_module: GraphModule, node: Node) -> Tensor:
    tensor = operator.attrgetter(str(node.target))(graph_module)
    assert isinstance(tensor, Tensor)
    return tensor
