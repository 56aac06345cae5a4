"""Refuses a parameter group that no pipeline knows, before anything runs.

Knows names of groups; what is in a group is checked by its own typed model.
"""

import difflib
from collections.abc import Iterable

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines
from kedro.validation.exceptions import ParameterValidationError


class KnownParameters:
    """A hook: without it, a typo in a group's name would leave the defaults in force, unsaid."""

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Compares the groups that were given with those that the pipelines read.

        Raises:
            ParameterValidationError: If a group is unknown; names the nearest known one.
        """
        read = {
            name.removeprefix("params:").split(".")[0]
            for pipeline in pipelines.values()
            for name in pipeline.inputs()
            if name.startswith("params:")
        }
        refuse_unknown(context.params, read)


def refuse_unknown(given: Iterable[str], known: Iterable[str]) -> None:
    """Checks names against the known ones.

    Raises:
        ParameterValidationError: If one is not among them.
    """
    known = sorted(known)
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            meant = f" (did you mean {near[0]!r}?)" if near else ""
            raise ParameterValidationError(
                f"No pipeline reads the parameter group {name!r}{meant}: expected "
                f"{', '.join(known)}"
            )
