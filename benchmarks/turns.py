"""Takes turns: what is compared is run in rounds, each in an order of its own.

Knows functions that tell how long they took. In one and the same order, each would always follow
the same other one, and meet the caches and the memory that this one leaves.
"""

import random
from collections.abc import Callable, Mapping

Turn = Callable[[], float]
"""Does its work once, and tells the seconds."""


def by_turns(
    contestants: Mapping[str, Turn], rounds: int, before: Callable[[], object] = lambda: None
) -> dict[str, list[float]]:
    """Seconds of each, a round each.

    Args:
        contestants: By name.
        rounds: How often each has its turn; the orders are drawn, the same ones every time.
        before: Called before every turn, uncounted, so that all begin alike.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    draw = random.Random(0)
    for _ in range(rounds):
        for name in draw.sample(list(contestants), len(contestants)):
            before()
            seconds[name].append(contestants[name]())
    return seconds
