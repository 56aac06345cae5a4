"""Which stage's file to ship, and why.

Knows evaluations, latencies, and where the catalog keeps a stage's file; reads no file itself.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import pandas as pd

from model_compression.reporting import units
from model_compression.reporting.pace import pace
from model_compression.reporting.readings import Evaluation, median_latency, number

MODEL_FILE = "06_models/{stage}/model.onnx"
"""Where a stage's file lies in the folder of the data, as in ``catalog_06_models.yml``."""

RECOMMENDATION_FILE = "08_reporting/recommendation.json"
"""Where the recommendation itself lies there, as in ``catalog_08_reporting.yml``."""


@dataclass(frozen=True)
class Recommendation:
    """The file to ship."""

    stage: str
    """The stage whose file it is."""
    reason: str
    """A sentence or two."""
    fingerprint: str
    """The one that the evaluated file carries; empty if the evaluation has none."""
    accuracy: float
    """Fraction of the test images; this and the next three are NaN where not measured."""
    file_bytes: float
    latency_ms_batch1: float
    latency_ms_batch64: float

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """The recommendation that ``as_json`` stored, so that all say it in the same words.

        Raises:
            ValueError: If something is missing.
        """
        missing = {"stage", "reason", "fingerprint"} - set(stored)
        if missing:
            raise ValueError(
                f"Expected a recommendation with stage, reason and fingerprint; "
                f"{', '.join(sorted(missing))} is missing. Write it anew: "
                "kedro run --pipeline=reporting"
            )
        return cls(
            stage=str(stored["stage"]),
            reason=str(stored["reason"]),
            fingerprint=str(stored["fingerprint"]),
            accuracy=number(stored, "accuracy"),
            file_bytes=number(stored, "file_bytes"),
            latency_ms_batch1=number(stored, "latency_ms_batch1"),
            latency_ms_batch64=number(stored, "latency_ms_batch64"),
        )

    @property
    def path(self) -> str:
        """Its file, from the folder of the project's data on."""
        return MODEL_FILE.format(stage=self.stage)

    @property
    def advice(self) -> str:
        """The stage and the reason, for people."""
        return f"Ship the {self.stage} file. {self.reason}"

    def as_json(self) -> dict[str, Any]:
        """What is stored of it: plain values, ``None`` where something was not measured."""
        return {
            "stage": self.stage,
            "path": self.path,
            "fingerprint": self.fingerprint,
            "reason": self.reason.replace(units.SPACE, " "),
            "accuracy": None if math.isnan(self.accuracy) else self.accuracy,
            "file_bytes": None if math.isnan(self.file_bytes) else int(self.file_bytes),
            "latency_ms_batch1": _known(self.latency_ms_batch1),
            "latency_ms_batch64": _known(self.latency_ms_batch64),
        }


def recommend(evaluations: Mapping[str, Evaluation], latency: pd.DataFrame) -> Recommendation:
    """The last stage's file, or that of the stage before it where the last one is slower.

    Slower means: for one image, the two being paired by the turns in which they were timed, and by
    more than the measurement's spread (``pace``). So a step that was meant to bring speed, and
    brings the opposite on this machine, isn't shipped for its name.

    Args:
        evaluations: By stage, in their order, as in ``evaluation.json``.
        latency: Columns ``stage, batch_size, repeat, latency_ms``.

    Raises:
        ValueError: If there is no stage, or the latency table lacks a column.
    """
    if not evaluations:
        raise ValueError(
            "Expected the evaluation of at least one stage, got none; run a training pipeline "
            "first."
        )
    *earlier, last = evaluations
    if not earlier:
        return _of(last, "It is the only one that has been evaluated.", evaluations, latency)
    before = earlier[-1]
    measured = pace(latency, before, last, 1)
    if measured is None:
        reason = (
            f"It is the last stage's; whether it is faster than the {before} one was not measured."
        )
        return _of(last, reason, evaluations, latency)
    if measured.slower:
        reason = (
            f"For one image, the {last} one is {measured.change} here ({measured.evidence})."
            f"{_price(evaluations, before, last)}"
        )
        return _of(before, reason, evaluations, latency)
    how = "faster" if measured.faster else "as fast"
    conjunction = "than" if measured.faster else "as"
    reason = (
        f"It is the last stage's and for one image {how} {conjunction} the {before} one "
        f"({measured.evidence})."
    )
    return _of(last, reason, evaluations, latency)


def _of(
    stage: str, reason: str, evaluations: Mapping[str, Evaluation], latency: pd.DataFrame
) -> Recommendation:
    return Recommendation(
        stage=stage,
        reason=reason,
        fingerprint=str(evaluations[stage].get("fingerprint", "")),
        accuracy=number(evaluations[stage], "accuracy"),
        file_bytes=number(evaluations[stage], "file_bytes"),
        latency_ms_batch1=median_latency(latency, stage, 1),
        latency_ms_batch64=median_latency(latency, stage, 64),
    )


def _price(evaluations: Mapping[str, Evaluation], shipped: str, other: str) -> str:
    """What the shipped file costs and gives beside the other; empty where nothing is known."""
    facts = []
    for key, words in (("file_bytes", "takes {}"), ("accuracy", "gets {} of the images right")):
        ours, theirs = (number(evaluations[stage], key) for stage in (shipped, other))
        if not math.isnan(ours) and not math.isnan(theirs):
            shown, against = (_in_words(key, value) for value in (ours, theirs))
            facts.append(f"{words.format(shown)} instead of {against}")
    return f" The {shipped} file {' and '.join(facts)}." if facts else ""


def _in_words(key: str, value: float) -> str:
    return units.size(value) if key == "file_bytes" else units.percent(value, 2)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
