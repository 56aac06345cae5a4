"""A float network in, the same on its grid, trainable or not, and the integer one out.

Knows graphs and ranges; the training loop, the objective and the file format are others' business.

Where batch norms are folded before the training ("static folding" in Nagel et al., A White Paper on
Neural Network Quantization, 2021), the network that trains is the one that ships, layer for layer.
Where they are kept, the same network is trained as the float one was; a norm's factor goes into the
steps of its layer in the end, so the integers are those that were trained.
"""

import copy
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.nn.modules.batchnorm import _BatchNorm

from model_compression.evaluation import device_of
from model_compression.quantization._torchao import convert_pt2e, prepare_qat_pt2e
from model_compression.quantization.biases import round_biases
from model_compression.quantization.capture import (
    CONVOLUTIONS,
    DROPOUTS,
    LINEAR,
    capture,
    kept_norms,
    layer_path,
    layer_paths,
)
from model_compression.quantization.dynamic import OwnRangeFakeQuantize, inline_own_ranges
from model_compression.quantization.fake_quantize import ActivationFakeQuantize
from model_compression.quantization.norms import fold_kept_norms
from model_compression.quantization.ranges import RangeCollector, RangeMethod
from model_compression.quantization.settings import QatSettings, WeightSettings
from model_compression.quantization.u8s8 import Grids, U8S8Quantizer
from model_compression.quantization.weight_quantizers import WeightQuantizer


class QatModel(nn.Module):
    """A network whose weights and activations are rounded to the int8 grid in each forward pass.

    It trains like any module. ``train()`` and ``eval()`` switch dropout, kept batch norms and the
    observing of ranges; an evaluation changes no state.

    Args:
        prepared: A graph with fake quantizers, as ``prepare`` makes it.
    """

    def __init__(self, prepared: GraphModule) -> None:
        super().__init__()
        self.prepared = prepared
        self.train()

    def forward(self, images: Tensor) -> Tensor:
        """Logits, (N, classes), of normalised images, (N, C, H, W)."""
        return self.prepared(images)  # type: ignore[no-any-return]

    def train(self, mode: bool = True) -> "QatModel":
        """Switches between training and evaluation."""
        self.training = mode
        for module in self.prepared.modules():
            if isinstance(module, ActivationFakeQuantize | WeightQuantizer | _BatchNorm):
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

    def weight_quantizers(self) -> dict[str, WeightQuantizer]:
        """The quantizers of weights, by their layer's path, in the order in which layers run."""
        return {path: quantizer for path, quantizer, _ in _weights(self.prepared)}


def prepare_qat(
    module: nn.Module,
    input_shape: Sequence[int],
    settings: WeightSettings | None = None,
) -> QatModel:
    """A trainable version of ``module`` on its grid; ``module`` is left as it is.

    The ranges of activations are unknown yet: ``calibrate`` sets them, or the first training
    batches do.

    Args:
        module: The float network.
        input_shape: (C, H, W) of one image.
        settings: Quantization-aware training to 8 bits if left out.

    Raises:
        ValueError: If the network cannot be captured as one graph, or if the settings name a layer
            that it does not have.
    """
    settings = settings or QatSettings()
    return prepare(capture(module, input_shape, settings.keeps_norms), settings)


def prepare(graph_module: GraphModule, settings: WeightSettings) -> QatModel:
    """The network of a captured graph on its grid.

    Args:
        graph_module: As ``capture`` gives it; it is used up.
        settings: Which grid each layer gets.

    Raises:
        ValueError: If the settings name a layer that it does not have.
    """
    device = device_of(graph_module)
    grids = grids_of(graph_module, settings)
    quantizer = U8S8Quantizer(
        grids,
        settings.averaging if isinstance(settings, QatSettings) else 1.0,
        # Where all weights are floats, an addition between them has nothing to be fast for.
        settings.activations if any(grids.values()) else "none",
        settings.grid_of_activations,
    )
    with _undisturbed():
        prepared = prepare_qat_pt2e(graph_module, quantizer)
    model = QatModel(prepared).to(device)
    for _, weight_quantizer, weight in _weights(prepared):
        weight_quantizer.begin(weight)
    return model


def grids_of(graph_module: GraphModule, settings: WeightSettings) -> Grids:
    """The grid of each layer of a captured graph.

    Raises:
        ValueError: If the settings name a layer that it does not have.
    """
    layers = layer_paths(graph_module)
    unknown = sorted(set(settings.bits) - set(layers))
    if unknown:
        raise ValueError(
            f"bits are given for {', '.join(unknown)}, but the network has no such layer; it has "
            f"{', '.join(layers)}"
        )
    return {layer: settings.grid(layer, layer in (layers[0], layers[-1])) for layer in layers}


def freeze(model: QatModel, epoch: int, settings: QatSettings) -> None:
    """Before an epoch: freezes the ranges or lets them follow, as the settings want it then.

    Args:
        model: The network in training.
        epoch: Epochs finished before this one; 0 for the first.
        settings: Those that the model was prepared with.
    """
    limit = settings.freeze_ranges_after_epoch
    model.freeze_ranges(limit is not None and epoch >= limit)


def calibrate(
    model: QatModel, batches: Iterable[Tensor], method: RangeMethod | None = None
) -> None:
    """Sets the activations' ranges from the float network's activations on ``batches``.

    Args:
        model: The prepared network; its weights stay as they are, its mode too.
        batches: Normalised images, each (N, C, H, W).
        method: What of an activation its range covers; ``None``: the mean over the batches of its
            smallest and its largest value, which quantization-aware training goes on from.

    Raises:
        ValueError: If there is no batch.
    """
    was_training = model.training
    model.eval()
    enable_rounding(model, False)
    collectors = {quantizer: RangeCollector() for quantizer in model.activation_quantizers()}
    for quantizer, collector in collectors.items():
        if method is None:
            quantizer.train()
            quantizer.enable_observer()
        else:
            quantizer.collect = collector.update
    seen = 0
    try:
        with torch.no_grad():
            for images in batches:
                model(images)
                seen += 1
    finally:
        for quantizer in collectors:
            quantizer.collect = None
        enable_rounding(model, True)
        model.train(was_training)
    if seen == 0:
        raise ValueError("Calibration needs at least one batch of images; it was given none.")
    if method is not None:
        for quantizer, collector in collectors.items():
            quantizer.set_range(*collector.range(method, symmetric=quantizer.is_symmetric))


def convert(model: QatModel) -> GraphModule:
    """The network with int8 weights and explicit quantize and dequantize operators, for export.

    A weight of few bits is an int8 one of few different values.

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
        _put_weights_on_grid(prepared)
        fold_kept_norms(prepared)
        round_biases(prepared)
        _remove_dropout(prepared)
        inline_own_ranges(prepared)
        converted = convert_pt2e(prepared)
    assert isinstance(converted, GraphModule)
    # torchao forbids train() and eval() on graphs whose dropout and batch norms would not follow;
    # this one has neither, so a caller may treat it as any other module.
    del converted.train, converted.eval
    return converted.eval()


def restore(
    module: nn.Module,
    input_shape: Sequence[int],
    weights: Mapping[str, Tensor],
    settings: WeightSettings | None = None,
) -> QatModel:
    """Prepares ``module`` afresh and gives it the state of a trained ``QatModel``, bit for bit.

    Args:
        module: A float network with the shapes of the one that was prepared; its values are moot.
        input_shape: (C, H, W) of one image.
        weights: ``QatModel.state_dict()`` of the trained network.
        settings: Those that it was prepared with.

    Returns:
        The network in evaluation mode.

    Raises:
        ValueError: If the weights belong to another network.
    """
    model = prepare_qat(module, input_shape, settings)
    try:
        model.load_state_dict(dict(weights), strict=True)
    except RuntimeError as error:
        raise ValueError(
            "These weights are not those of this network prepared for quantization; give the float "
            "network that the quantized one was made from, and its settings. "
            f"{error}"
        ) from error
    return model.eval()


@torch.no_grad()
def regrid(
    model: QatModel, module: nn.Module, input_shape: Sequence[int], settings: WeightSettings
) -> QatModel:
    """The same weights and ranges under other settings, in evaluation mode.

    A layer whose grid stays keeps its steps; one with another grid begins with those that suit its
    weights.

    Args:
        model: The network as it is.
        module: A float network with the shapes of the one that was prepared; its values are moot.
        input_shape: (C, H, W) of one image.
        settings: The other ones.

    Raises:
        ValueError: If the settings name a layer that the network does not have.
    """
    changed = prepare_qat(module, input_shape, settings)
    learned = dict(model.prepared.named_parameters())
    owned = {
        id(value) for each in changed.weight_quantizers().values() for value in each.parameters()
    }
    for name, parameter in changed.prepared.named_parameters():
        if id(parameter) not in owned:
            parameter.copy_(learned[name])
    steps = model.weight_quantizers()
    for path, quantizer, weight in _weights(changed.prepared):
        before = steps.get(path)
        quantizer.begin(weight)
        if type(before) is type(quantizer) and before.bits == quantizer.bits:
            quantizer.load_state_dict(before.state_dict())
    for _, norm in kept_norms(changed.prepared):
        path = str(norm.target)
        changed.prepared.get_submodule(path).load_state_dict(
            model.prepared.get_submodule(path).state_dict()
        )
    ranges = _ranges(model.prepared)
    for name, activation in _ranges(changed.prepared).items():
        # Torchao numbers its modules; what each observes keeps its name.
        activation.load_state_dict(ranges[name].state_dict())
    return changed.eval()


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Keeps torchao's warnings from the user, and its example inputs from torch's random state."""
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        yield


def enable_rounding(model: QatModel, enabled: bool) -> None:
    """Lets the network compute on its grid, or in floats."""
    for module in model.prepared.modules():
        if isinstance(module, ActivationFakeQuantize | OwnRangeFakeQuantize | WeightQuantizer):
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


def _put_weights_on_grid(graph_module: GraphModule) -> None:
    """Makes each weight what it is rounded to, so that an even grid of its steps holds it."""
    for _, quantizer, weight in _weights(graph_module):
        with torch.no_grad():
            weight.copy_(quantizer(weight))


def _weights(graph_module: GraphModule) -> Iterator[tuple[str, WeightQuantizer, nn.Parameter]]:
    """Each quantized weight with its layer's path and what rounds it, in the order of the layers.

    A weight that several layers share is one.
    """
    seen = set()
    for layer in graph_module.graph.nodes:
        if layer.target not in (*CONVOLUTIONS, LINEAR):
            continue
        node = layer.args[1]
        if node.op != "call_module" or node.target in seen:
            continue
        seen.add(node.target)
        quantizer = graph_module.get_submodule(str(node.target))
        path = layer_path(node.args[0])
        if isinstance(quantizer, WeightQuantizer) and path is not None:
            yield path, quantizer, graph_module.get_parameter(str(node.args[0].target))


def _ranges(graph_module: GraphModule) -> dict[str, ActivationFakeQuantize]:
    """By the name of the node that each observes, what rounds activations."""
    found = {}
    for node in graph_module.graph.nodes:
        if node.op == "call_module":
            quantizer = graph_module.get_submodule(str(node.target))
            if isinstance(quantizer, ActivationFakeQuantize):
                found[node.args[0].name] = quantizer
    return found
