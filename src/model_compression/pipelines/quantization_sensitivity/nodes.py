"""The pruned network's layers: how few bits each bears, and bits for all that meet a target."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
from plotly.graph_objects import Figure
from torch import nn

from model_compression import quantization, reporting
from model_compression.evaluation import Score, score
from model_compression.images import Batches, ImageSet, stratified_subset
from model_compression.models import Checkpoint
from model_compression.pipelines.quantization_sensitivity.parameters import (
    BitSensitivityParameters,
)
from model_compression.pruning import allocate, damage_by_layer

logger = logging.getLogger(__name__)

BATCH = 500
"""Images at a time that a network is judged on."""

_FINEST = 0.125
"""Steps of the mean bits in which the fewest are looked for."""


def scan(
    validation_images: ImageSet, pruned: Checkpoint, parameters: BitSensitivityParameters
) -> pd.DataFrame:
    """The network with one layer's weights in few bits, for every layer; a row each.

    ``network`` is the pruned one's fingerprint, so that a table tells which one it is of.
    """
    bench = quantization.BitBench(pruned.build(), pruned.spec.input_shape)
    rows = quantization.measure_bits(
        bench, parameters.bits, _judge(validation_images, pruned, parameters)
    )
    return pd.DataFrame(list(rows)).assign(network=pruned.fingerprint)


def assign_bits(
    validation_images: ImageSet,
    pruned: Checkpoint,
    sensitivity: pd.DataFrame,
    parameters: BitSensitivityParameters,
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Bits of layers that meet the target together at the least damage measured one by one.

    Returns:
        Parameters for the group ``quantization``, as a configuration file has them; a row each for
        the float network, all layers in the nearest equal bits, and in the assigned ones.

    Raises:
        ValueError: If the table is of another network, or if not even the most bits lose so
            little.
    """
    bench = quantization.BitBench(pruned.build(), pruned.spec.input_shape)
    of = sorted(set(sensitivity["network"].astype(str)))
    if of != [pruned.fingerprint]:
        raise ValueError(
            f"The sensitivities are of {', '.join(of)}, the pruned network is {pruned.fingerprint}:"
            " run the pipeline quantization_sensitivity from its node scan"
        )
    judge = _judge(validation_images, pruned, parameters)
    whole = judge(bench.with_bits({}))
    if parameters.mean_bits is not None:
        bits = bits_for(sensitivity, parameters.mean_bits)
    else:
        assert parameters.max_accuracy_drop is not None
        limit = parameters.max_accuracy_drop
        bits = _fewest(
            sensitivity,
            parameters.bits,
            lambda each: whole.accuracy - judge(bench.with_bits(each)).accuracy,
            limit,
        )
    reached = mean_bits(bits, bench.weights)
    equal = min(
        (count for count in parameters.bits if count >= reached), default=max(bits.values())
    )
    rows = [("float", {}), ("equal", dict.fromkeys(bits, equal)), ("assigned", bits)]
    comparison = pd.DataFrame(
        [_row(name, each, bench, judge(bench.with_bits(each))) for name, each in rows]
    )
    logger.info("before any training, on validation images:\n%s", comparison.to_string(index=False))
    return {"quantization": {"quantization": {"bits": bits}}}, comparison


def draw(sensitivity: pd.DataFrame) -> Figure:
    """The accuracy that each layer costs in so many bits."""
    return reporting.bits_heatmap(sensitivity)


def bits_for(sensitivity: pd.DataFrame, wanted: float) -> dict[str, int]:
    """Bits of each layer whose mean over all weights is at most ``wanted``.

    What goes from a layer is its share of the most bits, as pruning takes shares of layers.
    """
    most = int(sensitivity["bits"].max())
    weights = dict(zip(sensitivity["layer"], sensitivity["weights"], strict=True))
    steps = [
        (layer, 1 - bits / most, increase)
        for layer, bits, increase in zip(
            sensitivity["layer"], sensitivity["bits"], sensitivity["loss_increase"], strict=True
        )
    ]
    if wanted >= most:
        return dict.fromkeys(weights, most)
    total = sum(weights.values())

    def removed(shares: Mapping[str, float]) -> float:
        return float(sum(weights[layer] * share for layer, share in shares.items()) / total)

    shares = allocate(damage_by_layer(steps), removed, 1 - wanted / most)
    return {layer: round(most * (1 - shares.get(layer, 0.0))) for layer in weights}


def mean_bits(bits: Mapping[str, int], weights: Mapping[str, int]) -> float:
    """Of all weights of the layers that have bits."""
    total = sum(weights[layer] for layer in bits)
    return float(sum(weights[layer] * count for layer, count in bits.items()) / total)


def _fewest(
    sensitivity: pd.DataFrame,
    bits: list[int],
    drop: Callable[[dict[str, int]], float],
    limit: float,
) -> dict[str, int]:
    """The assignment of the smallest mean that loses no more, by bisection over the mean."""
    most = dict.fromkeys(dict.fromkeys(sensitivity["layer"]), bits[0])
    if (loses := drop(most)) > limit:
        raise ValueError(
            f"With {bits[0]} bits for every layer the network loses {100 * loses:.2f} percentage "
            f"points on the validation images, {100 * limit:.2f} are allowed: raise "
            "quantization_sensitivity.max_accuracy_drop, or begin its bits with more"
        )
    low, high = 0, round((bits[0] - bits[-1]) / _FINEST)
    found = most
    while low < high:
        middle = (low + high + 1) // 2
        candidate = bits_for(sensitivity, bits[0] - middle * _FINEST)
        if drop(candidate) <= limit:
            low, found = middle, candidate
        else:
            high = middle - 1
    return found


def _judge(
    validation: ImageSet, pruned: Checkpoint, parameters: BitSensitivityParameters
) -> Callable[[nn.Module], Score]:
    images = validation
    if parameters.images is not None:
        images = validation.subset(stratified_subset(validation.labels, parameters.images, 0))
    batches = Batches(images, pruned.normalization, batch_size=BATCH, device="cpu", shuffle=False)
    return lambda network: score(network, batches)


def _row(
    name: str, bits: Mapping[str, int], bench: "quantization.BitBench", found: Score
) -> dict[str, Any]:
    return {
        "bits": name,
        "mean_bits": mean_bits(bits, bench.weights) if bits else 32.0,
        "accuracy": found.accuracy,
        "loss": found.loss,
    }
