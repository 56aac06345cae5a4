"""Keeps Python's garbage collector from looking again and again through what is being imported.

Knows the collector and Kedro's events. Before its first node a run makes some hundred thousand
objects that live to its end, modules and classes for the most part; searching them for cycles
whenever a few hundred more had come was a third of the time until then.
"""

import gc

from kedro.framework.hooks import hook_impl

USUAL = gc.get_threshold()
SELDOM = (1_000_000, *USUAL[1:])
"""New objects before the collector looks, while a run starts. If no catalog follows, it is seldom,
but not never."""


class StartUp:
    """A hook: the collector is slowed down when it is made, and as it was when a catalog is.

    By then all pipelines are imported, in a run as in a notebook or in Kedro-Viz. What is there
    the first time is left alone from then on; later, it may be a user's own.
    """

    def __init__(self) -> None:
        gc.set_threshold(*SELDOM)

    @hook_impl(trylast=True)
    def after_catalog_created(self) -> None:
        """After all other hooks have seen it."""
        if not gc.get_freeze_count():
            gc.freeze()
        gc.set_threshold(*USUAL)
