"""Looks at a network's layers while it runs, without changing what it does.

Knows modules and graphs; which layers there are is layers' business, what is done with the maps
the methods'.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, fx, nn
from torch.utils.hooks import RemovableHandle

from model_compression.distillation.layers import Size, as_map, check_layers, stage_ends
from model_compression.distillation.method import DistillationError, Need, Observed
from model_compression.evaluation import device_of, evaluating

ACTIVATIONS = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.PReLU,
    nn.ELU,
    nn.GELU,
    nn.SiLU,
    nn.Hardswish,
    nn.Mish,
)
"""What is taken for a layer's activation function."""

_ATEN_ACTIVATIONS = frozenset(
    f"aten.{name}.default"
    for name in (
        *("relu", "relu_", "hardtanh", "hardtanh_", "leaky_relu", "leaky_relu_", "prelu", "elu"),
        *("elu_", "gelu", "silu", "silu_", "hardswish", "hardswish_", "mish"),
    )
)


class Taps:
    """Looks at some layers of one network.

    Args:
        module: The network, or the graph that quantization-aware training made of it.
        input_shape: (C, H, W) of one image.
        need: What is looked at.
        layers: Module paths, from the input towards the output; ``None`` for the ends of its last
            stages (see ``layers.stage_ends``).
        count: How many stages to take where ``layers`` is ``None``; all there are if there are
            fewer.

    Raises:
        DistillationError: If a layer is not there (naming those that are).
    """

    def __init__(
        self,
        module: nn.Module,
        input_shape: tuple[int, int, int],
        need: Need,
        layers: Sequence[str] | None = None,
        count: int = 3,
    ) -> None:
        self._module = module
        self._input_shape = input_shape
        self._need = need
        self._points: list[_Point] = []
        self.layers: tuple[str, ...] = ()
        """The layers that are looked at."""
        if need is Need.LOGITS:
            return
        graphs = [part for part in module.modules() if isinstance(part, fx.GraphModule)]
        sight: _Sight = _GraphSight(graphs[0]) if graphs else _ModuleSight(module)
        images = self._black_images()
        with evaluating(module), torch.no_grad():
            outputs = sight.outputs(images)
        sizes = {path: _size(output, images) for path, output in outputs.items()}
        name = type(module).__name__
        ends = stage_ends(sizes)
        if not ends:
            raise DistillationError(
                f"{name} has no layer whose output is a map, so a method that looks inside of it "
                "can't be used: take one that learns from logits (kd, dkd, dist)"
            )
        if layers is not None:
            check_layers(layers, sizes, name)
        if need is Need.EMBEDDING:
            self.layers = (ends[-1],)
            self._points = [sight.embedding(outputs) or sight.output(ends[-1])]
            return
        self.layers = tuple(layers or ends[-count:])
        look = sight.preactivation if need is Need.PREACTIVATIONS else sight.output
        self._points = [look(layer) for layer in self.layers]

    def observe(self, module: nn.Module, images: Tensor) -> Observed:
        """Runs the network, with gradient if that is on.

        Args:
            module: The network that was given at construction.
            images: (N, C, H, W).

        Raises:
            DistillationError: If it is another network, or one that left a layer out.
        """
        seen: dict[int, Any] = {}
        with _watching(self._points, seen):
            logits = module(images).float()
        if len(seen) < len(self._points):
            raise DistillationError(
                f"{len(self._points)} layers were to be seen ({', '.join(self.layers)}), but "
                f"{len(seen)} ran: observe the network that the taps were made for"
            )
        maps = [as_map(seen[index], images) for index in range(len(self._points))]
        features = tuple(map_.float() for map_ in maps if map_ is not None)
        if self._need is Need.EMBEDDING:
            return Observed(logits, embedding=features[0].mean((2, 3)))
        return Observed(logits, features)

    def probe(self) -> Observed:
        """What it shows of two black images, in eval mode and without gradient."""
        with evaluating(self._module), torch.no_grad():
            return self.observe(self._module, self._black_images())

    def _black_images(self) -> Tensor:
        return torch.zeros(2, *self._input_shape, device=device_of(self._module))


class _Point(NamedTuple):
    """Where to look: at what a module gives, or at what it gets."""

    module: nn.Module
    at_input: bool = False


class _Sight(Protocol):
    """What can be seen of a network, by its modules' paths."""

    def outputs(self, images: Tensor) -> dict[str, Any]:
        """Runs it; what each module gave, in the order in which they returned."""

    def output(self, layer: str) -> _Point:
        """A layer's output."""

    def preactivation(self, layer: str) -> _Point:
        """What enters the activation function that ends a layer; its output if none does."""

    def embedding(self, outputs: Mapping[str, Any]) -> _Point | None:
        """What enters the linear layer that gives the logits; ``None`` without one."""


class _ModuleSight:
    """A plain module."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._outputs: dict[str, Any] = {}

    def outputs(self, images: Tensor) -> dict[str, Any]:
        outputs: dict[str, Any] = {}

        def note(path: str) -> Callable[..., None]:
            def hook(module: nn.Module, inputs: Any, output: Any) -> None:
                outputs.pop(path, None)  # a module called twice counts where it was called last
                outputs[path] = output

            return hook

        hooks = [
            part.register_forward_hook(note(path)) for path, part in self._module.named_modules()
        ]
        try:
            self._module(images)
        finally:
            for hook in hooks:
                hook.remove()
        self._outputs = outputs
        return outputs

    def output(self, layer: str) -> _Point:
        return _Point(self._module.get_submodule(layer))

    def preactivation(self, layer: str) -> _Point:
        given = self._outputs[layer]
        for path, output in self._outputs.items():
            module = self._module.get_submodule(path)
            is_last = output is given and (path == layer or path.startswith(f"{layer}."))
            if is_last and isinstance(module, ACTIVATIONS):
                return _Point(module, at_input=True)
        return self.output(layer)

    def embedding(self, outputs: Mapping[str, Any]) -> _Point | None:
        linear = [
            (module, outputs[path])
            for path in self._outputs
            if isinstance(module := self._module.get_submodule(path), nn.Linear)
        ]
        if not linear or linear[-1][1].shape != outputs[""].shape:
            return None
        return _Point(linear[-1][0], at_input=True)


class _GraphSight:
    """A captured graph: its nodes tell which module they came from."""

    def __init__(self, graph: fx.GraphModule) -> None:
        self._graph = graph
        self._nodes: dict[str, list[fx.Node]] = {}
        for node in graph.graph.nodes:
            for path, _ in (node.meta.get("nn_module_stack") or {}).values():
                self._nodes.setdefault(path, []).append(node)

    def outputs(self, images: Tensor) -> dict[str, Any]:
        values: dict[fx.Node, Any] = {}

        class Recorder(fx.Interpreter):
            def run_node(self, n: fx.Node) -> Any:
                values[n] = super().run_node(n)
                return values[n]

        Recorder(self._graph).run(images)
        order = {node: index for index, node in enumerate(values)}
        returned = sorted(
            self._nodes,
            key=lambda path: (order[self._nodes[path][-1]], -path.count("."), path == ""),
        )
        return {path: values[self._nodes[path][-1]] for path in returned}

    def output(self, layer: str) -> _Point:
        return self._behind(self._nodes[layer][-1])

    def preactivation(self, layer: str) -> _Point:
        last = self._nodes[layer][-1]
        if str(last.target) in _ATEN_ACTIVATIONS:
            return self._behind(last.args[0])
        return self.output(layer)

    def embedding(self, outputs: Mapping[str, Any]) -> _Point | None:
        last = self._nodes[""][-1]
        if str(last.target) != "aten.linear.default":
            return None
        return self._behind(last.args[0])

    def _behind(self, node: Any) -> _Point:
        """Puts a module without effect behind a node, for a hook to hold on to."""
        name = f"tap_of_{node.name}"
        if name not in dict(self._graph.named_children()):
            self._graph.add_submodule(name, nn.Identity())
            with self._graph.graph.inserting_after(node):
                self._graph.graph.call_module(name, (node,))
            self._graph.recompile()
        return _Point(self._graph.get_submodule(name))


@contextmanager
def _watching(points: Sequence[_Point], seen: dict[int, Any]) -> Iterator[None]:
    """Within it, what is at the points is put into ``seen`` by their index."""
    hooks = [_watch(point, index, seen) for index, point in enumerate(points)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _watch(point: _Point, index: int, seen: dict[int, Any]) -> RemovableHandle:
    if point.at_input:
        # An activation function that works in place would overwrite what was seen.
        in_place = getattr(point.module, "inplace", False)

        def before(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            seen[index] = inputs[0].clone() if in_place else inputs[0]

        return point.module.register_forward_pre_hook(before)

    def after(module: nn.Module, inputs: Any, output: Any) -> None:
        seen[index] = output

    return point.module.register_forward_hook(after)


def _size(output: object, images: Tensor) -> Size | None:
    map_ = as_map(output, images)
    return None if map_ is None else (map_.shape[2], map_.shape[3])
