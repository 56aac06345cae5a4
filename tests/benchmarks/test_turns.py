"""Turns in drawn orders."""

import itertools


def test_each_has_a_turn_a_round_and_follows_every_other(load):
    order = []
    ticks = itertools.count()

    def turn(name):
        def take() -> float:
            order.append(name)
            return float(next(ticks))

        return take

    names = "abc"
    begun = []
    seconds = load("turns").by_turns(
        {name: turn(name) for name in names}, 20, lambda: begun.append(len(order))
    )
    assert begun == list(range(60))
    assert all(sorted(order[n : n + 3]) == list(names) for n in range(0, 60, 3))
    pairs = set(itertools.pairwise(order))
    assert {(a, b) for a in names for b in names if a != b} <= pairs
    assert seconds["a"] == [n for n, name in enumerate(order) if name == "a"]
    again = load("turns").by_turns({name: turn(name) for name in names}, 20)
    assert order[60:] == order[:60]
    assert again.keys() == seconds.keys()
