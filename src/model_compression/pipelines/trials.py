"""What all comparisons of trials have in common: runs by trial and seed, and records of them.

Knows neither what sets the trials apart nor how they are trained.
"""

from typing import Annotated, Any, NamedTuple

from pydantic import Field

Seed = Annotated[int, Field(ge=0)]
Seeds = Annotated[list[Seed], Field(min_length=1)]

TrialRecord = dict[str, Any]
"""What is known of one finished run, as JSON values. The tracking hook reads ``name``, ``method``,
``seed``, ``seconds``, ``parameters``, ``history``, the numbers that it tracks, and if they are
there ``evaluation`` (its file's, as a stage's) and ``tags``; the rest is between the node that
trains and the one that compares."""


class Run(NamedTuple):
    """One training: a trial with one of its seeds."""

    trial: str
    seed: int

    @property
    def key(self) -> str:
        """What its files and its MLflow run are called."""
        return f"{self.trial}-seed{self.seed}"
