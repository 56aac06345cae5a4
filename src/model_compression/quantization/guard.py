"""Returns layers to more bits until the network is as accurate as it has to be.

Knows networks on a grid, layers and which images each network gets right; which images they are is
its caller's business.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.fx import GraphModule, Node

from model_compression.evaluation import mcnemar_test, paired_interval
from model_compression.quantization.capture import CONVOLUTIONS, LINEAR, layer_path
from model_compression.quantization.dynamic import OwnRangeFakeQuantize
from model_compression.quantization.fake_quantize import ActivationFakeQuantize
from model_compression.quantization.qat import QatModel
from model_compression.quantization.settings import BYTE_BITS, FLOAT_BITS, Guard, WeightSettings
from model_compression.quantization.weight_quantizers import WeightQuantizer

logger = logging.getLogger(__name__)

Correct = NDArray[np.bool_]
"""Which images a network gets right, in the images' order."""


class Drop(NamedTuple):
    """What a network loses against another, judged on the same images."""

    drop: float
    """The other's accuracy minus its own."""
    low: float
    """Lower end of the paired 95 % interval of the drop (``evaluation.paired_interval``)."""
    high: float
    """Its upper end."""


class Returned(NamedTuple):
    """A layer that was given more bits."""

    layer: str
    bits_before: int
    bits: int
    """32 if its weights are floats now."""
    loss_without: float
    """The validation loss with this layer alone in floats, by which it was chosen, in nats."""
    drop: float
    """What the network lost after it, as a fraction."""


class Step(NamedTuple):
    """The network after a layer was returned."""

    settings: WeightSettings
    model: QatModel
    found: Drop
    returned: Returned


def paired_drop(before: Correct, after: Correct) -> Drop:
    """The loss of accuracy and its 95 % interval, from the images that the two answer differently.

    With b images that only the first gets right and c that only the second does, of n, it is
    ``(b - c) / n``; the interval is that of the report's comparisons, the other way round.

    Raises:
        ValueError: If they are not of the same, at least one, images.
    """
    found = mcnemar_test(before, after)
    low, high = paired_interval(found.only_a, found.only_b, before.size)
    return Drop((found.only_a - found.only_b) / before.size, -high, -low)


def holds(found: Drop, guard: Guard) -> bool:
    """Whether a network loses no more than the guard allows."""
    return (found.high if guard.certain else found.drop) <= guard.max_accuracy_drop


def return_layers(
    model: QatModel,
    settings: WeightSettings,
    guard: Guard,
    with_settings: Callable[[WeightSettings], QatModel],
    loss: Callable[[QatModel], float],
    drop: Callable[[QatModel], Drop],
) -> Iterator[Step]:
    """Gives layers back bits, the most sensitive first, until the guard holds or all are floats.

    Layers of fewer than 8 bits first become 8 bits wide, each the next after how much the loss
    falls if it alone computes in floats. If that is not enough, layers become floats in the same
    way.

    Args:
        model: The network on its grid, in evaluation mode; the guard does not hold for it.
        settings: Those that it was prepared with.
        guard: What it may lose.
        with_settings: The same network, prepared with other settings.
        loss: The loss of a network on the validation images, in nats.
        drop: What a network loses against the one that it was made from.

    Yields:
        The network after each return. The guard holds for the last, unless all layers are floats.
    """
    for target in (BYTE_BITS, FLOAT_BITS):
        widest = settings.most_bits if target == BYTE_BITS else target
        below = [path for path, bits in bits_of(model).items() if bits < widest]
        alone = {}
        for path in below:
            with in_floats(model, path):
                alone[path] = loss(model)
        for path in sorted(below, key=lambda path: alone[path]):
            before = bits_of(model)[path]
            settings = settings.with_bits({path: target})
            model = with_settings(settings).eval()
            after = bits_of(model).get(path, FLOAT_BITS)
            found = drop(model)
            logger.info(
                "%s: from %d to %d bits; the network now loses %.2f points",
                path,
                before,
                after,
                100 * found.drop,
            )
            returned = Returned(path, before, after, alone[path], found.drop)
            yield Step(settings, model, found, returned)
            if holds(found, guard):
                return


def bits_of(model: QatModel) -> dict[str, int]:
    """The bits of each layer's weights, by path; layers whose weights are floats are left out."""
    return {path: quantizer.bits for path, quantizer in model.weight_quantizers().items()}


@contextmanager
def in_floats(model: QatModel, layer: str) -> Iterator[None]:
    """Lets one layer, and the rounding of what it reads, compute in floats for a while."""
    quantizers = list(_around(model.prepared, layer))
    for quantizer in quantizers:
        quantizer.enable_fake_quant(False)
    try:
        yield
    finally:
        for quantizer in quantizers:
            quantizer.enable_fake_quant(True)


def _around(
    graph_module: GraphModule, layer: str
) -> Iterator[WeightQuantizer | ActivationFakeQuantize | OwnRangeFakeQuantize]:
    for node in graph_module.graph.nodes:
        if node.target not in (*CONVOLUTIONS, LINEAR):
            continue
        weight = node.args[1]
        if (
            isinstance(weight, Node)
            and weight.op == "call_module"
            and layer_path(weight.args[0]) == layer
        ):
            quantizer = graph_module.get_submodule(str(weight.target))
            assert isinstance(quantizer, WeightQuantizer)
            yield quantizer
            source = node.args[0]
            if isinstance(source, Node) and source.op == "call_module":
                rounding = graph_module.get_submodule(str(source.target))
                if isinstance(rounding, ActivationFakeQuantize | OwnRangeFakeQuantize):
                    yield rounding
