"""Shares of layers that meet a target together at the least damage that was measured one by one.

Knows numbers by layer; neither networks nor what is measured.
"""

import heapq
import math
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from model_compression.pruning.layer_cuts import Ratios

Damage = Mapping[str, Mapping[float, float]]
"""By layer, by share that goes, ascending: how much worse the network is without it; growing."""

Removed = Callable[[Ratios], float]
"""What shares of layers take away together, as a share of the target; growing in each."""


def allocate(
    damage: Damage, removed: Removed, wanted: float, steadily: Removed | None = None
) -> dict[str, float]:
    """Shares of layers that take away ``wanted`` of the target, greedily.

    Damages are taken to add up over layers. Beginning with the whole network, the step with the
    least damage for what it takes away is made, from any layer's share to any larger one of it,
    until the target is met. Then what turned out to be more than needed is given back, the largest
    damage first.

    Args:
        damage: As ``damage_by_layer`` gives it.
        removed: Of the target.
        wanted: In (0, 1).
        steadily: What steps are compared by, where ``removed`` is a noisy measurement; the target
            is then searched by bisection on the way that they make.

    Returns:
        By layer, for all of ``damage``, the share that goes, 0 included.

    Raises:
        ValueError: If all that can go takes away less.
    """
    if steadily is None:
        for ratios in _path(damage, removed):
            if removed(ratios) >= wanted:
                return _give_back(ratios, damage, removed, wanted)
        most = removed(_most(damage))
    else:
        path = list(_path(damage, steadily))
        most = removed(path[-1])
        if most >= wanted:
            return path[_first(lambda place: removed(path[place]) >= wanted, len(path) - 1)]
    raise ValueError(
        f"All that the layers can lose takes away {most:.1%} of the target, but {wanted:.1%} are "
        "to go: lower the pruning's ratio or sparsity or its round_to, or give pruning_sensitivity "
        "larger ratios."
    )


class _Step(NamedTuple):
    """In a heap, the least comes first: the least damage for its gain, then the largest gain."""

    price: float
    negative_gain: float
    layer: str
    start: float
    end: float


def _path(damage: Damage, removed: Removed) -> Iterator[dict[str, float]]:
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
    yield dict(ratios)
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
        yield dict(ratios)
        for end in damage[fresh.layer]:
            if end > fresh.end:
                heapq.heappush(steps, step(fresh.layer, end))


def _give_back(
    ratios: Mapping[str, float], damage: Damage, removed: Removed, wanted: float
) -> dict[str, float]:
    """The same with smaller shares where the target bears it."""
    left = dict(ratios)
    hurt = sorted(
        (layer for layer in left if left[layer] > 0),
        key=lambda layer: damage[layer][left[layer]],
        reverse=True,
    )
    for layer in hurt:
        for share in (0.0, *damage[layer]):
            if share >= left[layer]:
                break
            less = {**left, layer: share}
            if removed(less) >= wanted:
                left = less
                break
    return left


def _most(damage: Damage) -> dict[str, float]:
    return {layer: max(shares, default=0.0) for layer, shares in damage.items()}


def _first(holds: Callable[[int], bool], last: int) -> int:
    """The lowest place from 0 to ``last``, where it is known to hold, by bisection."""
    low, high = 0, last
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low
