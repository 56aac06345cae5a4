"""The student's layers: what each bears, and what goes from each to meet the pruning's target."""

import copy
import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from plotly.graph_objects import Figure
from torch import nn

from model_compression import reporting
from model_compression.evaluation import Score, count_macs, count_parameters, score
from model_compression.images import Batches, ImageSet, stratified_subset
from model_compression.models import Checkpoint
from model_compression.pipelines.pruning.nodes import gather_evidence, relative_latency
from model_compression.pipelines.pruning.parameters import PruningParameters
from model_compression.pipelines.pruning_sensitivity.parameters import SensitivityParameters
from model_compression.pruning import (
    ChannelPruningSettings,
    Evidence,
    LayerCuts,
    MaskPruningSettings,
    Sensitivity,
    allocate,
    apply_masks,
    damage_by_layer,
    layer_cuts,
    measure_sensitivity,
    needs,
    prune_channels,
    weight_masks,
)
from model_compression.training import resolve_device

logger = logging.getLogger(__name__)

BATCH = 500
"""Images at a time that a network is judged on."""

Latency = Callable[[nn.Module], float]


def scan(
    train_images: ImageSet,
    validation_images: ImageSet,
    student: Checkpoint,
    pruning: PruningParameters,
    parameters: SensitivityParameters,
) -> pd.DataFrame:
    """The student without a share of one layer, for every layer and ratio; a row each.

    ``network`` is the student's fingerprint, so that a table tells which one it is of.
    """
    bench = _bench(student, train_images, validation_images, pruning, parameters)
    rows: list[Sensitivity] = []
    for row in measure_sensitivity(bench.cuts, parameters.ratios, bench.score):
        if not rows or row.layer != rows[-1].layer:
            place = bench.cuts.layers.index(row.layer) + 1
            logger.info("%s: layer %d of %d", row.layer, place, len(bench.cuts.layers))
        rows.append(row)
    return pd.DataFrame(rows).assign(network=student.fingerprint)


def allocate_ratios(
    train_images: ImageSet,
    validation_images: ImageSet,
    student: Checkpoint,
    sensitivity: pd.DataFrame,
    pruning: PruningParameters,
    parameters: SensitivityParameters,
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Shares of layers that meet the pruning's target, and what they are worth before any tuning.

    Returns:
        Parameters for the group ``pruning``, as a configuration file has them; a row each for the
        whole student, the student pruned as it is configured, and as it is allocated.

    Raises:
        ValueError: If the target can't be met with the ratios that were measured, or the table is
            of another network.
    """
    of = sorted(set(sensitivity["network"].astype(str)))
    if of != [student.fingerprint]:
        raise ValueError(
            f"The sensitivities are of {', '.join(of)}, the student is {student.fingerprint}: run "
            "the pipeline pruning_sensitivity from its node scan"
        )
    bench = _bench(student, train_images, validation_images, pruning, parameters)
    cuts = bench.cuts
    columns = sensitivity[["layer", "removed", "loss_increase"]]
    damage = damage_by_layer(columns.itertuples(index=False, name=None))
    if list(damage) != list(cuts.layers):
        raise ValueError(
            "The sensitivities are of other layers than are pruned now: run the pipeline "
            "pruning_sensitivity from its node scan"
        )
    ratios = allocate(damage, cuts.removed, cuts.wanted, cuts.estimated)
    comparison = pd.DataFrame(
        [
            bench.row("whole", bench.network),
            bench.row("configured", _as_configured(bench, student, pruning)),
            bench.row("allocated", cuts.without(ratios)),
        ]
    )
    logger.info("before any tuning, on validation images:\n%s", comparison.to_string(index=False))
    return {"pruning": {"pruning": {cuts.setting: _readable(ratios)}}}, comparison


def draw(sensitivity: pd.DataFrame) -> Figure:
    """The accuracy that each layer costs at each ratio."""
    return reporting.sensitivity_heatmap(sensitivity)


class _Bench(NamedTuple):
    """The student, its layers, and what judges a network."""

    network: nn.Module
    input_shape: tuple[int, int, int]
    cuts: LayerCuts
    evidence: Evidence | None
    latency: Latency | None
    score: Callable[[nn.Module], Score]

    def row(self, name: str, network: nn.Module) -> dict[str, Any]:
        """What a network is worth and what is left of the student's cost."""
        found = self.score(network)
        macs, whole_macs = (count_macs(each, self.input_shape) for each in (network, self.network))
        left, whole = (count_parameters(each)[1] for each in (network, self.network))
        return {
            "pruning": name,
            "accuracy": found.accuracy,
            "loss": found.loss,
            "macs_left": macs / whole_macs,
            "nonzero_parameters_left": left / whole,
            "latency_left": np.nan if self.latency is None else self.latency(network),
        }


def _bench(
    student: Checkpoint,
    train: ImageSet,
    validation: ImageSet,
    pruning: PruningParameters,
    parameters: SensitivityParameters,
) -> _Bench:
    settings, training = pruning.pruning, pruning.training
    network = student.build()
    evidence = gather_evidence(network, needs(settings), student, training, train)
    is_timed = isinstance(settings, ChannelPruningSettings) and settings.target == "latency"
    latency = relative_latency(student) if is_timed else None
    shape = student.spec.input_shape
    device = resolve_device(training.device)
    images = validation
    if parameters.images is not None:
        images = validation.subset(
            stratified_subset(validation.labels, parameters.images, training.seed)
        )
    batches = Batches(
        images,
        student.normalization,
        batch_size=BATCH,
        device=device,
        shuffle=False,
        resident_share=training.resident_share,
    )
    return _Bench(
        network,
        shape,
        layer_cuts(network, shape, settings, training.seed, evidence=evidence, latency=latency),
        evidence,
        latency,
        lambda each: score(copy.deepcopy(each).to(device), batches),
    )


def _as_configured(bench: _Bench, student: Checkpoint, pruning: PruningParameters) -> nn.Module:
    """The student after the whole cut that the parameters say, made at once."""
    settings, seed = pruning.pruning, pruning.training.seed
    if isinstance(settings, ChannelPruningSettings):
        return prune_channels(
            bench.network,
            bench.input_shape,
            settings,
            seed,
            evidence=bench.evidence,
            latency=bench.latency,
        )
    assert isinstance(settings, MaskPruningSettings)
    network = student.build()
    apply_masks(network, weight_masks(network, settings, bench.evidence, seed))
    return network


def _readable(ratios: dict[str, float]) -> dict[str, float]:
    """Six digits tell any number of channels from the next."""
    return {layer: float(f"{ratio:.6f}") for layer, ratio in ratios.items()}
