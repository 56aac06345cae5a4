"""Imports what a room offers when it is asked for, for rooms that are heavy and seldom all needed.

Knows module names only. Every `kedro run` imports every pipeline's nodes, and torchao or ONNX's
tools take seconds that a run without them should not wait for (PEP 562).
"""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def offered_by(room: str, modules: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """A ``__getattr__`` for a room's ``__init__``.

    Args:
        room: Its dotted name.
        modules: By the names of its modules, what each of them offers.

    Returns:
        A function that imports what it is asked for, and raises an AttributeError for any other
        name, as a module does.

    Raises:
        ValueError: If one of them is called as its room's module is: whoever imports that module
            puts it where the other was to be found.
    """
    both = sorted(set(modules) & {name for names in modules.values() for name in names})
    if both:
        raise ValueError(f"{room}: both a module and what it offers are called {', '.join(both)}")
    homes = {name: module for module, names in modules.items() for name in names}

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {room!r} has no attribute {name!r}")
        return getattr(import_module(f"{room}.{homes[name]}"), name)

    return get
