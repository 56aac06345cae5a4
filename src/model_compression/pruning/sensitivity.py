"""How much each layer bears: the network is judged without a share of one layer at a time.

Knows cuts of layers and a score; which images it is of is its caller's business.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from torch import nn

from model_compression.evaluation import Score
from model_compression.pruning.layer_cuts import LayerCuts


class Sensitivity(NamedTuple):
    """The network without a share of one layer, not trained since."""

    layer: str
    ratio: float
    """The share that was asked for."""
    removed: float
    """The share of the layer that really went, after rounding."""
    target_removed: float
    """About what went with it, as a share of the settings' target (``LayerCuts.estimated``)."""
    accuracy: float
    loss: float
    """Mean cross-entropy, in nats."""
    accuracy_drop: float
    """The whole network's accuracy minus this one's."""
    loss_increase: float
    """This network's loss minus the whole one's, in nats."""


def measure_sensitivity(
    cuts: LayerCuts, ratios: Sequence[float], score: Callable[[nn.Module], Score]
) -> Iterator[Sensitivity]:
    """Every layer at every ratio, one layer at a time (Li et al., ICLR 2017, section 3.3).

    Where rounding makes the same of two ratios, the network is judged once.

    Args:
        cuts: The layers.
        ratios: Shares in (0, 1), the same for every layer.
        score: Judges a network.

    Yields:
        Layer by layer, in the order of the ratios.
    """
    whole = score(cuts.without({}))
    for layer in cuts.layers:
        known = {0.0: (whole, 0.0)}
        for ratio in ratios:
            removed = cuts.nearest(layer, ratio)
            if removed not in known:
                cut = {layer: removed}
                known[removed] = score(cuts.without(cut)), cuts.estimated(cut)
            found, of_target = known[removed]
            yield Sensitivity(
                layer,
                ratio,
                removed,
                of_target,
                found.accuracy,
                found.loss,
                whole.accuracy - found.accuracy,
                found.loss - whole.loss,
            )


def damage_by_layer(
    measured: Iterable[tuple[str, float, float]],
) -> dict[str, dict[float, float]]:
    """What a layer's loss costs the network, made to grow with the share.

    A larger share takes all that a smaller one takes and more, so where it scored better by chance
    the worse of both counts; a loss that is no number counts as infinite.

    Args:
        measured: Layer, share that went, and increase of the loss.

    Returns:
        By layer, by share, ascending, at least 0; shares of 0 are left out.
    """
    by_layer: dict[str, dict[float, float]] = {}
    for layer, removed, increase in measured:
        by_layer.setdefault(layer, {})[removed] = increase
    return {layer: _growing(increases) for layer, increases in by_layer.items()}


def _growing(increases: Mapping[float, float]) -> dict[float, float]:
    worst = 0.0
    grown = {}
    for removed in sorted(increases):
        increase = increases[removed]
        worst = max(worst, math.inf if math.isnan(increase) else increase)
        if removed > 0:
            grown[removed] = worst
    return grown
