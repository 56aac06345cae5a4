"""The comparison of trials: several ways to the same network, each with several seeds.

Knows the trials' records, not how they were trained or will be shown.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from statistics import mean, median, stdev
from typing import Any, NamedTuple

import pandas as pd

TrialRecord = Mapping[str, Any]
"""What is stored of one run: ``method``, ``architecture``, ``test_accuracy``,
``validation_accuracy``, ``seconds`` and ``history``, a row an epoch."""

CONFIDENCE = 0.95

TRIAL_COLUMNS: Mapping[str, str] = {
    "trial": "str",
    "method": "str",
    "architecture": "str",
    "teachers": "str",
    "control": "str",
    "seeds": "Int64",
    "accuracy_mean": "float64",
    "accuracy_std": "float64",
    "validation_accuracy_mean": "float64",
    "gain": "float64",
    "gain_low": "float64",
    "gain_high": "float64",
    "wins": "Int64",
    "seconds": "float64",
    "epoch_seconds": "float64",
}
"""The columns of the trials' ``comparison.csv`` with their types; people's tools rely on them."""


class Gain(NamedTuple):
    """How much better than its control a trial is, judged seed by seed."""

    mean: float
    """NaN without a pair."""
    low: float
    """Lower end of the 95 % interval; NaN with less than two pairs."""
    high: float
    wins: int
    """Pairs in which it was better."""


def trial_table(
    trials: Mapping[str, Mapping[int, TrialRecord]],
    teachers: Mapping[str, Sequence[str]],
    controls: Mapping[str, str],
) -> pd.DataFrame:
    """Builds the table, a row a trial in the order of ``trials``.

    ``accuracy_mean`` and ``accuracy_std`` (of the sample, n - 1) are over the trial's seeds, on the
    test images. ``gain`` is the mean difference to the control's accuracy over the seeds that both
    have, with its 95 % interval; it is missing for a trial that is its own control, and the
    interval with a single pair. ``wins`` counts the seeds in which the trial was better.
    ``seconds`` is the median training, ``epoch_seconds`` the median epoch. Epochs in which a
    teacher is asked for answers that are then stored take longer, and only the first trial to show
    a view has them: ``benchmarks/distillation_epoch.py`` measures what a method costs by itself.

    Args:
        trials: Each trial's record by seed; at least one.
        teachers: What each learns from.
        controls: What each is measured against: a trial of the table.
    """
    rows = []
    for name, records in trials.items():
        some = next(iter(records.values()))
        accuracies = [record["test_accuracy"] for record in records.values()]
        epochs = chain.from_iterable(record["history"] for record in records.values())
        row = {
            "trial": name,
            "method": some["method"],
            "architecture": some["architecture"],
            "teachers": " + ".join(teachers[name]),
            "control": controls[name],
            "seeds": len(records),
            "accuracy_mean": mean(accuracies),
            "accuracy_std": stdev(accuracies) if len(accuracies) > 1 else math.nan,
            "validation_accuracy_mean": mean(
                record["validation_accuracy"] for record in records.values()
            ),
            "seconds": median(record["seconds"] for record in records.values()),
            "epoch_seconds": median(epoch["seconds"] for epoch in epochs),
        }
        if name != controls[name]:
            control = trials[controls[name]]
            shared = [seed for seed in records if seed in control]
            gain = paired_gain(
                [records[seed]["test_accuracy"] - control[seed]["test_accuracy"] for seed in shared]
            )
            row |= {
                "gain": gain.mean,
                "gain_low": gain.low,
                "gain_high": gain.high,
                "wins": gain.wins,
            }
        rows.append(row)
    return pd.DataFrame(rows, columns=list(TRIAL_COLUMNS)).astype(dict(TRIAL_COLUMNS))


def paired_gain(differences: Sequence[float]) -> Gain:
    """The mean difference with Student's interval: d ± t(0.975, n - 1) · s / √n.

    Args:
        differences: One a pair, trial minus control.
    """
    wins = sum(difference > 0 for difference in differences)
    if not differences:
        return Gain(math.nan, math.nan, math.nan, wins)
    middle = mean(differences)
    if len(differences) == 1:
        return Gain(middle, math.nan, math.nan, wins)
    # SciPy's statistics would take a tenth of the time until a run's first node.
    from scipy.stats import t  # noqa: PLC0415

    quantile = float(t.ppf((1 + CONFIDENCE) / 2, len(differences) - 1))
    half = quantile * stdev(differences) / math.sqrt(len(differences))
    return Gain(middle, middle - half, middle + half, wins)
