"""Decides which tensors of a graph become int8, so that ONNX Runtime fuses every layer.

Knows ATen graphs and what ONNX Runtime fuses; nothing of training, files or the runtime itself.

Unsigned 8-bit activations with one scale a tensor and signed 8-bit weights with one scale an output
channel is the combination that its CPU kernels fuse throughout. Each rule below gives a float
operation the quantized inputs and output that ONNX Runtime looks for around it:

* convolution, with a following ReLU, ReLU6 or hardtanh: ``QLinearConv``;
* linear layer, likewise, its output left float where it is the network's output: ``QGemm``;
* addition, with a following ReLU: ``QLinearAdd``; concatenation: ``QLinearConcat``;
* average pooling and the spatial mean: int8 in and out;
* max pooling and changes of shape keep the scale of their input, so they run on the integers.

Everything else stays float. Where activations have the range of their own batch, linear layers
alone read integers: ``DynamicQuantizeMatMul``.
"""

from collections.abc import Callable, Iterator, Mapping

import torch
from torch.fx import GraphModule, Node

from model_compression.quantization._torchao import (
    QuantizationAnnotation,
    QuantizationSpec,
    Quantizer,
    SharedQuantizationSpec,
)
from model_compression.quantization.capture import (
    CONVOLUTIONS,
    DROPOUTS,
    LINEAR,
    aten,
    layer_path,
)
from model_compression.quantization.dynamic import OwnRangeFakeQuantize
from model_compression.quantization.fake_quantize import ActivationFakeQuantize
from model_compression.quantization.settings import (
    ActivationGrid,
    Activations,
    GridKind,
    WeightGrid,
)
from model_compression.quantization.weight_quantizers import (
    CodebookQuantizer,
    FixedStepQuantizer,
    LargestWeightQuantizer,
    LearnedStepQuantizer,
    WeightQuantizer,
)

ANNOTATION = "quantization_annotation"

_ACTIVATIONS = (aten.relu.default, aten.hardtanh.default, aten.relu6.default, aten.clamp.default)
_ADDITION = aten.add.Tensor
_CONCATENATION = aten.cat.default
_AVERAGES = (
    aten.mean.dim,
    aten.avg_pool1d.default,
    aten.avg_pool2d.default,
    aten.adaptive_avg_pool1d.default,
    aten.adaptive_avg_pool2d.default,
)
_SAME_VALUES = (
    aten.max_pool1d.default,
    aten.max_pool2d.default,
    aten.adaptive_max_pool2d.default,
    aten.flatten.using_ints,
    aten.reshape.default,
    aten.view.default,
    aten.unsqueeze.default,
    aten.squeeze.dim,
    aten.squeeze.dims,
    aten.permute.default,
    aten.transpose.int,
)


_QUANTIZERS: dict[GridKind, type[WeightQuantizer]] = {
    "max": LargestWeightQuantizer,
    "fixed": FixedStepQuantizer,
    "learned": LearnedStepQuantizer,
    "codebook": CodebookQuantizer,
}

_SCHEMES: dict[ActivationGrid, torch.qscheme] = {
    "affine": torch.per_tensor_affine,
    "symmetric": torch.per_tensor_symmetric,
}

Grids = Mapping[str, WeightGrid | None]
"""By a layer's path: the grid of its weights, or ``None`` where they stay floats."""


class U8S8Quantizer(Quantizer):  # type: ignore[misc]
    """Annotates a captured graph for torchao's PT2E: u8 activations, s8 weights.

    Args:
        grids: Of every layer of the graph (``layer_paths``).
        averaging: Weight of the newest batch in the activations' moving ranges, in (0, 1].
        activations: When their ranges are known; with ``none`` weights alone are quantized.
        activation_grid: Of all activations but the images, which are bytes already.
    """

    def __init__(
        self,
        grids: Grids,
        averaging: float = 0.01,
        activations: Activations = "static",
        activation_grid: ActivationGrid = "affine",
    ) -> None:
        super().__init__()
        self.grids = grids
        self.activations = activations
        running_range = ActivationFakeQuantize.with_args(averaging=averaging)
        self.images = _unsigned_bytes(running_range)
        self.activation = _unsigned_bytes(running_range, _SCHEMES[activation_grid])
        self.own_range = _unsigned_bytes(OwnRangeFakeQuantize)

    def annotate(self, model: GraphModule) -> GraphModule:
        """Writes into each node's meta how its inputs and its output are quantized."""
        rules: dict[object, Callable[[Node], None]] = {
            **dict.fromkeys(CONVOLUTIONS, self._annotate_layer),
            LINEAR: self._annotate_layer,
            _ADDITION: self._annotate_combination,
            _CONCATENATION: self._annotate_combination,
            **dict.fromkeys(_AVERAGES, self._annotate_average),
            **dict.fromkeys(_SAME_VALUES, self._annotate_same_values),
        }
        if self.activations != "static":
            rules = dict.fromkeys((*CONVOLUTIONS, LINEAR), self._annotate_weight)
        for node in model.graph.nodes:
            if node.op == "call_function" and node.target in rules:
                rules[node.target](node)
        return model

    def validate(self, model: GraphModule) -> None:
        """Checks nothing: what is really fused is asked of the exported file."""

    def _annotate_layer(self, node: Node) -> None:
        source, weight = node.args[0], node.args[1]
        assert isinstance(source, Node)
        specification = self._weight_specification(weight)
        if specification is None:
            return
        assert isinstance(weight, Node)
        inputs = {weight: specification, **self._quantized(node, source)}
        feeds_output = all(user.op == "output" for user in _users_beyond_dropout(node))
        if node.target is LINEAR and feeds_output:
            _annotate(node, inputs, output=None)
        else:
            self._annotate_with_activation(node, inputs)

    def _annotate_weight(self, node: Node) -> None:
        """Quantizes a layer's weight, and a linear layer's input by its own range if wanted."""
        source, weight = node.args[:2]
        specification = self._weight_specification(weight)
        if specification is None:
            return
        assert isinstance(source, Node)
        assert isinstance(weight, Node)
        inputs = {weight: specification}
        if self.activations == "dynamic" and node.target is LINEAR:
            inputs[source] = self.own_range
        _annotate(node, inputs, output=None)

    def _weight_specification(self, weight: object) -> QuantizationSpec | None:
        """How a layer's weight is quantized; ``None`` where it is no stored one or stays float."""
        path = layer_path(weight)
        grid = None if path is None else self.grids[path]
        if grid is None:
            return None
        per_channel = grid.sharing == "channel"
        return QuantizationSpec(
            dtype=torch.int8,
            observer_or_fake_quant_ctr=_QUANTIZERS[grid.kind].with_args(
                bits=grid.bits, sharing=grid.sharing
            ),
            quant_min=-grid.largest,
            quant_max=grid.largest,
            qscheme=torch.per_channel_symmetric if per_channel else torch.per_tensor_symmetric,
            ch_axis=0 if per_channel else None,
        )

    def _annotate_combination(self, node: Node) -> None:
        operands = node.args[0] if node.target is _CONCATENATION else node.args[:2]
        assert isinstance(operands, list | tuple)
        if node.kwargs or not all(isinstance(operand, Node) for operand in operands):
            return
        tensors = [operand for operand in operands if isinstance(operand, Node)]
        if any(tensor.op == "get_attr" or not _is_float(tensor) for tensor in tensors):
            return
        inputs: dict[Node, QuantizationSpec] = {}
        for tensor in tensors:
            inputs.update(self._quantized(node, tensor))
        self._annotate_with_activation(node, inputs)

    def _annotate_average(self, node: Node) -> None:
        source = node.args[0]
        assert isinstance(source, Node)
        if _is_float(source):
            _annotate(node, self._quantized(node, source), output=self.activation)

    def _annotate_same_values(self, node: Node) -> None:
        source = node.args[0]
        if isinstance(source, Node) and _has_quantized_output(source):
            shared = SharedQuantizationSpec((source, node))
            _annotate(node, {source: self.activation}, output=shared)

    def _annotate_with_activation(self, node: Node, inputs: dict[Node, QuantizationSpec]) -> None:
        """Quantizes ``node``'s output, after its kept batch norm and its activation function."""
        last = node
        for follows in (_kept_norm, _following_activation):
            last = follows(last) or last
        if last is node:
            _annotate(node, inputs, output=self.activation)
        else:
            _annotate(node, inputs, output=None)
            _annotate(last, {}, output=self.activation)

    def _quantized(self, node: Node, source: Node) -> dict[Node, QuantizationSpec]:
        """The input specification of ``node``; a dropout's input is quantized in its stead.

        In training a dropout scales the values, which would widen the range for nothing.
        """
        if source.target not in DROPOUTS:
            return {source: self._specification(source)}
        before = source.args[0]
        assert isinstance(before, Node)
        if not _has_quantized_output(before):
            _annotate(source, {before: self._specification(before)}, output=None)
        return {}

    def _specification(self, source: Node) -> QuantizationSpec:
        return self.images if source.op == "placeholder" else self.activation


def _unsigned_bytes(
    quantizer: object, scheme: torch.qscheme = torch.per_tensor_affine
) -> QuantizationSpec:
    return QuantizationSpec(
        dtype=torch.uint8,
        observer_or_fake_quant_ctr=quantizer,
        quant_min=0,
        quant_max=255,
        qscheme=scheme,
    )


def _annotate(
    node: Node,
    inputs: dict[Node, QuantizationSpec],
    output: QuantizationSpec | SharedQuantizationSpec | None,
) -> None:
    node.meta[ANNOTATION] = QuantizationAnnotation(
        input_qspec_map=inputs, output_qspec=output, _annotated=True
    )


def _has_quantized_output(node: Node) -> bool:
    annotation = node.meta.get(ANNOTATION)
    return annotation is not None and annotation.output_qspec is not None


def _kept_norm(node: Node) -> Node | None:
    """The batch norm that ``capture`` has kept behind ``node``, if there is one."""
    (user, *others) = node.users or [None]
    return user if user is not None and not others and user.op == "call_module" else None


def _following_activation(node: Node) -> Node | None:
    """The ReLU-like operation that alone uses ``node``'s output, if there is one."""
    if len(node.users) != 1:
        return None
    (user,) = node.users
    return user if user.target in _ACTIVATIONS and user.args[0] is node else None


def _users_beyond_dropout(node: Node) -> Iterator[Node]:
    for user in node.users:
        if user.target in DROPOUTS:
            yield from _users_beyond_dropout(user)
        else:
            yield user


def _is_float(node: Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and value.dtype.is_floating_point
