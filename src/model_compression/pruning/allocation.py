"""Shares of layers that meet a target together at the least damage that was measured one by one.

Knows numbers by layer; neither networks nor what is measured.
"""

import heapq
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

from model_compression.pruning.layer_cuts import Ratios

Damage = Mapping[str, Mapping[float, float]]
"""By layer, by share that goes, ascending: how much worse the network is without it; growing."""

_ROUNDING = 1e-9
"""What sums of shares may lack; less than one weight of a billion."""

Removed = Callable[[Ratios], float]
"""What shares of layers take away together, as a share of the target; growing in each."""


def allocate(
    damage: Damage, removed: Removed, wanted: float, estimated: Removed | None = None
) -> dict[str, float]:
    """Shares of layers that take away ``wanted`` of the target, greedily.

    Damages are taken to add up over layers. Beginning with the whole network, the step with the
    least damage for what it takes away is made, from any layer's share to any larger one of it. How
    far to go on this way is found by bisection. Then what turned out to be more than needed is
    given back, the largest damage first.

    Args:
        damage: As ``damage_by_layer`` gives it.
        removed: Of the target; may be slow or noisy, and is asked a few times.
        wanted: In (0, 1).
        estimated: Quick; what steps are compared by. ``None``: ``removed``.

    Returns:
        By layer, for all of ``damage``, the share that goes, 0 included.

    Raises:
        ValueError: If all that can go takes away less.
    """
    estimated = estimated or removed
    path = _path(damage, estimated)
    most = removed(path[-1])
    wanted -= _ROUNDING
    if most < wanted:
        raise ValueError(
            f"All that the layers can lose takes away {most:.1%} of the target, but {wanted:.1%} "
            "are to go: lower the pruning's ratio or sparsity or its round_to, or give "
            "pruning_sensitivity larger ratios."
        )
    ratios = path[_first(lambda place: removed(path[place]) >= wanted, len(path) - 1)]
    return _give_back(ratios, damage, removed, wanted, estimated)


class _Step(NamedTuple):
    """In a heap, the least comes first: the least damage for its gain, then the largest gain."""

    price: float
    negative_gain: float
    layer: str
    start: float
    end: float


def _path(damage: Damage, removed: Removed) -> list[dict[str, float]]:
    """Ever larger cuts, from nothing to all that can go.

    What a step takes away shrinks as other layers get narrower, so a price that was found earlier
    is a lower bound, and only the cheapest step's has to be found anew (Minoux, 1978).
    """
    ratios = dict.fromkeys(damage, 0.0)
    now = removed(ratios)

    def step(layer: str, end: float) -> _Step:
        start = ratios[layer]
        gain = removed({**ratios, layer: end}) - now
        before, after = damage[layer].get(start, 0.0), damage[layer][end]
        harm = after - before if after > before else 0.0
        return _Step(harm / gain if gain > 0 else math.inf, -gain, layer, start, end)

    steps = [step(layer, end) for layer in damage for end in damage[layer]]
    heapq.heapify(steps)
    path = [dict(ratios)]
    while steps:
        cheapest = heapq.heappop(steps)
        if cheapest.start != ratios[cheapest.layer]:
            continue
        fresh = step(cheapest.layer, cheapest.end)
        if steps and fresh > steps[0] and fresh != cheapest:
            heapq.heappush(steps, fresh)
            continue
        ratios[fresh.layer] = fresh.end
        now -= fresh.negative_gain
        path.append(dict(ratios))
        for end in damage[fresh.layer]:
            if end > fresh.end:
                heapq.heappush(steps, step(fresh.layer, end))
    return path


def _give_back(
    ratios: dict[str, float],
    damage: Damage,
    removed: Removed,
    wanted: float,
    estimated: Removed,
) -> dict[str, float]:
    """The same with smaller shares where the target bears it.

    The estimate, less its error where it stands, says what is worth asking for.
    """
    hurt = sorted(
        (layer for layer in ratios if ratios[layer] > 0),
        key=lambda layer: damage[layer][ratios[layer]],
        reverse=True,
    )
    error = estimated(ratios) - removed(ratios)
    for layer in hurt:
        for share in (0.0, *damage[layer]):
            if share >= ratios[layer]:
                break
            less = {**ratios, layer: share}
            if estimated(less) - error >= wanted and removed(less) >= wanted:
                ratios = less
                error = estimated(ratios) - removed(ratios)
                break
    return ratios


def _first(holds: Callable[[int], bool], last: int) -> int:
    """The lowest place from 0 to ``last``, where it is known to hold, by bisection."""
    low, high = 0, last
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low
