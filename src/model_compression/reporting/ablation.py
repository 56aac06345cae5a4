"""What each step of the flow gives, alone and with the others: tables of an ablation's trials.

Knows the trials' records and latencies, not how they were trained.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from statistics import mean
from typing import Any

import pandas as pd

from model_compression.reporting.readings import (
    median_latency,
    number,
    ratio,
    require_columns,
    scalar,
    text,
)
from model_compression.reporting.trials import TrialRecord, paired_gain

STEPS = ("distillation", "pruning", "quantization")

ABLATION_COLUMNS: Mapping[str, str] = {
    "stage": "str",
    "trial": "str",
    "distillation": "bool",
    "pruning": "bool",
    "quantization": "bool",
    "seed": "Int64",
    "epochs": "str",
    "accuracy": "float64",
    "accuracy_low": "float64",
    "accuracy_high": "float64",
    "validation_accuracy": "float64",
    "parameters": "Int64",
    "nonzero_parameters": "Int64",
    "macs": "Int64",
    "file_bytes": "Int64",
    "packed_bytes": "Int64",
    "latency_ms_batch1": "float64",
    "latency_ms_batch64": "float64",
    "runtime": "str",
    "training_seconds": "float64",
}
"""The columns of ``ablation/comparison.csv`` with their types; people's tools rely on them."""

COSTS = (
    "file_bytes",
    "packed_bytes",
    "parameters",
    "macs",
    "latency_ms_batch1",
    "latency_ms_batch64",
)
"""What a step divides, where it does."""

EFFECT_COLUMNS: Mapping[str, str] = {
    "step": "str",
    "effect": "str",
    "seeds": "Int64",
    "accuracy": "float64",
    "accuracy_low": "float64",
    "accuracy_high": "float64",
    **dict.fromkeys(COSTS, "float64"),
}
"""The columns of the ablation's ``effects.csv`` with their types."""

Subset = tuple[bool, ...]
"""For each of ``STEPS`` whether a trial has it."""


def ablation_table(records: Mapping[str, TrialRecord], latency: pd.DataFrame) -> pd.DataFrame:
    """Builds the table, a row a trial and seed in the order of ``records``; ``stage`` is the key.

    Accuracies are fractions of the test images with a 95 % Wilson interval, which covers the choice
    of the images, not of the seed.

    Args:
        records: By key, with ``name``, ``seed``, each of ``STEPS``, ``epochs`` by stage and the
            file's ``evaluation``.
        latency: Columns ``stage`` (the key), ``batch_size, repeat, latency_ms``.

    Raises:
        ValueError: If the latency table lacks a column.
    """
    rows = []
    for key, record in records.items():
        evaluation = record["evaluation"]
        rows.append(
            {
                column: number(evaluation, column)
                for column, kind in ABLATION_COLUMNS.items()
                if kind != "str"
            }
            | {step: bool(record[step]) for step in STEPS}
            | {
                "stage": key,
                "trial": record["name"],
                "runtime": text(evaluation, "runtime"),
                "seed": record["seed"],
                "epochs": " + ".join(
                    f"{stage} {count}" for stage, count in record["epochs"].items()
                ),
                "validation_accuracy": record["validation_accuracy"],
                "latency_ms_batch1": median_latency(latency, key, 1),
                "latency_ms_batch64": median_latency(latency, key, 64),
            }
        )
    return pd.DataFrame(rows, columns=list(ABLATION_COLUMNS)).astype(dict(ABLATION_COLUMNS))


def ablation_effects(comparison: pd.DataFrame) -> pd.DataFrame:
    """What each step gives: a row a step ``alone``, ``last`` and on ``average``.

    Alone is the step without the others against none; last, all three against the other two;
    average, the mean over the four subsets of the others, which is the step's main effect in a
    2³ factorial design. All are compared seed by seed.

    ``accuracy`` is the mean difference, as a fraction, with Student's 95 % interval over the seeds
    (missing with a single one). Of the costs it is the geometric mean of the ratio without to with,
    so above 1 is an improvement: 2 is half the bytes.

    Args:
        comparison: As ``ablation_table`` builds it, or read from its file.

    Raises:
        ValueError: If the table lacks a column.
    """
    require_columns(comparison, ("seed", "accuracy", *STEPS, *COSTS), "ablation")
    rows: list[dict[str, Any]] = []
    for step in STEPS:
        pairs = [(before, after) for each, before, after in neighbours() if each == step]
        # The first pair has none of the other steps, the last has all of them.
        for effect, chosen in (("alone", pairs[:1]), ("last", pairs[-1:]), ("average", pairs)):
            rows.append({"step": step, "effect": effect, **_effect(comparison, chosen)})
    return pd.DataFrame(rows, columns=list(EFFECT_COLUMNS)).astype(dict(EFFECT_COLUMNS))


def neighbours() -> Iterator[tuple[str, Subset, Subset]]:
    """Every step with the trials before and after it: the twelve edges of the cube of subsets."""
    for place, step in enumerate(STEPS):
        for others in product((False, True), repeat=2):
            before, after = ((*others[:place], has, *others[place:]) for has in (False, True))
            yield step, before, after


def _effect(comparison: pd.DataFrame, pairs: list[tuple[Subset, Subset]]) -> dict[str, Any]:
    """The accuracy's difference and the costs' ratios between the pairs, over the seeds."""
    seeds = list(dict.fromkeys(comparison["seed"]))
    by_seed = {seed: _by_subset(comparison[comparison["seed"] == seed]) for seed in seeds}
    differences = [
        difference
        for trials in by_seed.values()
        if not math.isnan(difference := _mean_over(trials, pairs, _difference))
    ]
    gain = paired_gain(differences)

    def costs(column: str) -> float:
        logarithms = [
            _mean_over(trials, pairs, lambda before, after: _log_ratio(before, after, column))
            for trials in by_seed.values()
        ]
        known = [value for value in logarithms if not math.isnan(value)]
        return math.exp(mean(known)) if known else math.nan

    return {
        "seeds": len(differences),
        "accuracy": gain.mean,
        "accuracy_low": gain.low,
        "accuracy_high": gain.high,
        **{column: costs(column) for column in COSTS},
    }


def _by_subset(rows: pd.DataFrame) -> dict[Subset, Mapping[Any, Any]]:
    return {tuple(bool(row[step]) for step in STEPS): row for row in rows.to_dict(orient="records")}


def _mean_over(
    trials: Mapping[Subset, Mapping[Any, Any]],
    pairs: list[tuple[Subset, Subset]],
    compare: Callable[[Mapping[Any, Any], Mapping[Any, Any]], float],
) -> float:
    """The mean of what ``compare`` says of each pair; NaN if a trial is not there."""
    if any(subset not in trials for pair in pairs for subset in pair):
        return math.nan
    return mean(compare(trials[before], trials[after]) for before, after in pairs)


def _difference(before: Mapping[Any, Any], after: Mapping[Any, Any]) -> float:
    return scalar(after["accuracy"]) - scalar(before["accuracy"])


def _log_ratio(before: Mapping[Any, Any], after: Mapping[Any, Any], column: str) -> float:
    found = ratio(scalar(before[column]), scalar(after[column]))
    return math.nan if math.isnan(found) else math.log(found)
