"""Quantization-aware training: a float network in, a trainable one on the int8 grid, int8 out.

Knows graphs and ranges; the training loop, the objective and the file format are others' business.

Batch norms are folded before the training ("static folding" in Nagel et al., A White Paper on
Neural Network Quantization, 2021), so the network that trains is the one that ships, layer for
layer, and a step costs no normalisation.
"""

import copy
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.fx import GraphModule

from model_compression.evaluation import device_of
from model_compression.parameters import Parameters
from model_compression.quantization._torchao import convert_pt2e, prepare_qat_pt2e
from model_compression.quantization.biases import round_biases
from model_compression.quantization.capture import DROPOUTS, capture
from model_compression.quantization.fake_quantize import (
    ActivationFakeQuantize,
    PerChannelWeightFakeQuantize,
)
from model_compression.quantization.u8s8 import U8S8Quantizer


class QuantizationSettings(Parameters):
    """How a network is brought to 8-bit integers."""

    method: Literal["qat"] = "qat"
    """Quantization-aware training."""
    weight_bits: int = Field(default=8, ge=2, le=8)
    """Bits of a weight. 7 avoids the saturation that x86 CPUs without VNNI have at 8."""
    averaging: float = Field(default=0.01, gt=0, le=1)
    """Weight of the newest batch in the moving range of an activation."""
    freeze_ranges_after_epoch: int | None = Field(default=1, ge=0)
    """Epochs after which the activations' ranges stand still; null: they always follow."""


class QatModel(nn.Module):
    """A network whose weights and activations are rounded to the int8 grid in each forward pass.

    It trains like any module. ``train()`` and ``eval()`` switch dropout and the observing of
    ranges; an evaluation changes no state.

    Args:
        prepared: A graph with fake quantizers, as ``prepare_qat`` makes it.
        weight_bits: Bits of a weight; kept in the state, so that a file says on which grid it is.
    """

    weight_bits: Tensor

    def __init__(self, prepared: GraphModule, weight_bits: int) -> None:
        super().__init__()
        self.prepared = prepared
        self.register_buffer("weight_bits", torch.tensor(weight_bits))
        self.train()

    def forward(self, images: Tensor) -> Tensor:
        """Logits, (N, classes), of normalised images, (N, C, H, W)."""
        return self.prepared(images)  # type: ignore[no-any-return]

    def train(self, mode: bool = True) -> "QatModel":
        """Switches between training and evaluation."""
        self.training = mode
        for module in self.prepared.modules():
            if isinstance(module, ActivationFakeQuantize | PerChannelWeightFakeQuantize):
                module.train(mode)
        _set_dropout(self.prepared, mode)
        return self

    def freeze_ranges(self, frozen: bool = True) -> None:
        """Holds the activations' ranges where they are, or lets them follow the batches again."""
        for module in self.activation_quantizers():
            module.enable_observer(not frozen)

    def activation_quantizers(self) -> Iterator[ActivationFakeQuantize]:
        """The fake quantizers that have a range, in the graph's order."""
        for module in self.prepared.modules():
            if isinstance(module, ActivationFakeQuantize):
                yield module


def prepare_qat(
    module: nn.Module,
    input_shape: Sequence[int],
    settings: QuantizationSettings | None = None,
) -> QatModel:
    """A trainable int8 version of ``module``, which is left as it is.

    Its ranges are unknown yet: ``calibrate`` sets them, or the first training batches do.

    Args:
        module: The float network.
        input_shape: (C, H, W) of one image.
        settings: The defaults if left out.

    Raises:
        ValueError: If the network cannot be captured as one graph.
    """
    settings = settings or QuantizationSettings()
    graph_module = capture(module, input_shape)
    quantizer = U8S8Quantizer(settings.weight_bits, settings.averaging)
    with _undisturbed():
        prepared = prepare_qat_pt2e(graph_module, quantizer)
    return QatModel(prepared, settings.weight_bits).to(device_of(module))


def freeze(model: QatModel, epoch: int, settings: QuantizationSettings) -> None:
    """Before an epoch: freezes the ranges or lets them follow, as the settings want it then.

    Args:
        model: The network in training.
        epoch: Epochs finished before this one; 0 for the first.
        settings: Those that the model was prepared with.
    """
    limit = settings.freeze_ranges_after_epoch
    model.freeze_ranges(limit is not None and epoch >= limit)


def calibrate(model: QatModel, batches: Iterable[Tensor]) -> None:
    """Sets the activations' ranges from the float network's activations on ``batches``.

    Args:
        model: The prepared network; its weights stay as they are, its mode too.
        batches: Normalised images, each (N, C, H, W).

    Raises:
        ValueError: If there is no batch.
    """
    was_training = model.training
    model.eval()
    _enable_rounding(model, False)
    for quantizer in model.activation_quantizers():
        quantizer.train()
        quantizer.enable_observer()
    seen = 0
    try:
        with torch.no_grad():
            for images in batches:
                model(images)
                seen += 1
    finally:
        _enable_rounding(model, True)
        model.train(was_training)
    if seen == 0:
        raise ValueError("Calibration needs at least one batch of images; it was given none.")


def convert(model: QatModel) -> GraphModule:
    """The network with int8 weights and explicit quantize and dequantize operators, for export.

    Its logits are those of ``model.eval()`` but for the biases, which are rounded to the steps that
    int8 kernels add up in (see ``biases``). ``model`` is left as it is. The graph is in evaluation
    mode and has no other.

    Raises:
        ValueError: If an activation's range has never been observed.
    """
    if any(quantizer.observations.item() == 0 for quantizer in model.activation_quantizers()):
        raise ValueError(
            "The ranges of the activations are unknown: calibrate the network, or train it for a "
            "step, before it is converted."
        )
    with _undisturbed():
        prepared = copy.deepcopy(model).eval().prepared
        _refresh_weight_scales(prepared)
        round_biases(prepared)
        _remove_dropout(prepared)
        converted = convert_pt2e(prepared)
    assert isinstance(converted, GraphModule)
    # torchao forbids train() and eval() on graphs whose dropout and batch norms would not follow;
    # this one has neither, so a caller may treat it as any other module.
    del converted.train, converted.eval
    return converted.eval()


def restore(
    module: nn.Module, input_shape: Sequence[int], weights: Mapping[str, Tensor]
) -> QatModel:
    """Prepares ``module`` afresh and gives it the state of a trained ``QatModel``, bit for bit.

    Args:
        module: A float network with the shapes of the one that was prepared; its values are moot.
        input_shape: (C, H, W) of one image.
        weights: ``QatModel.state_dict()`` of the trained network.

    Returns:
        The network in evaluation mode.

    Raises:
        ValueError: If the weights belong to another network.
    """
    bits = weights.get("weight_bits")
    if bits is None:
        raise ValueError(
            "These weights are not those of a network prepared for quantization: expected a tensor "
            f"weight_bits among them, and there are {len(weights)} others. A float network's are "
            "rebuilt by the models room."
        )
    model = prepare_qat(module, input_shape, QuantizationSettings(weight_bits=int(bits)))
    try:
        model.load_state_dict(dict(weights), strict=True)
    except RuntimeError as error:
        raise ValueError(
            "These weights are not those of this network prepared for quantization; give the float "
            f"network that the quantized one was made from. {error}"
        ) from error
    return model.eval()


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Keeps torchao's warnings from the user, and its example inputs from torch's random state."""
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        yield


def _enable_rounding(model: QatModel, enabled: bool) -> None:
    for module in model.prepared.modules():
        if isinstance(module, ActivationFakeQuantize | PerChannelWeightFakeQuantize):
            module.enable_fake_quant(enabled)


def _set_dropout(graph_module: GraphModule, mode: bool) -> None:
    """Writes the mode into the graph, where export has fixed it as an argument."""
    changed = False
    for node in graph_module.graph.nodes:
        if node.target in DROPOUTS and node.args[2] is not mode:
            node.args = (*node.args[:2], mode)
            changed = True
    if changed:
        graph_module.recompile()


def _remove_dropout(graph_module: GraphModule) -> None:
    for node in list(graph_module.graph.nodes):
        if node.target in DROPOUTS:
            node.replace_all_uses_with(node.args[0])
            graph_module.graph.erase_node(node)
    graph_module.recompile()


def _refresh_weight_scales(graph_module: GraphModule) -> None:
    """Measures the weights as they are now; the last forward pass saw them a step earlier."""
    for node in graph_module.graph.nodes:
        if node.op != "call_module":
            continue
        quantizer = graph_module.get_submodule(str(node.target))
        if isinstance(quantizer, PerChannelWeightFakeQuantize):
            weight = node.args[0]
            quantizer(graph_module.get_parameter(str(weight.target)))
