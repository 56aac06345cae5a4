"""The report's table of everything that proves the numbers, a column for each stage.

Knows the stored evaluations and what each number in them means.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

from model_compression.reporting import units
from model_compression.reporting.readings import Evaluation, number, text
from model_compression.reporting.sections import Cell, Section, Table


class _Line(NamedTuple):
    name: str
    meaning: str
    words: Callable[[Evaluation], str]


def details_section(evaluations: Mapping[str, Evaluation]) -> Section:
    """Everything that proves the numbers; lines that no stage has a value for are left out.

    Args:
        evaluations: By stage, as in ``evaluation.json``.
    """
    rows = []
    for line in _LINES:
        cells = [Cell(line.words(evaluation)) for evaluation in evaluations.values()]
        if any(cell.text != units.MISSING for cell in cells):
            rows.append((Cell(line.name, detail=line.meaning), *cells))
    head = ("", *evaluations)
    return Section(
        "details",
        "Details and proof",
        "All numbers are measured on the exported file, read back from disk, in the runtime named "
        "here.",
        (Table(head=head, rows=tuple(rows), stacked=True),),
    )


def _number(key: str, words: Callable[[float], str]) -> Callable[[Evaluation], str]:
    return lambda evaluation: words(number(evaluation, key))


def _paired(key: str) -> Callable[[Evaluation], str]:
    return lambda evaluation: units.exact(number(evaluation, "paired", key))


def _text(key: str) -> Callable[[Evaluation], str]:
    return lambda evaluation: text(evaluation, key) or units.MISSING


def _fingerprint(evaluation: Evaluation) -> str:
    return text(evaluation, "fingerprint")[:12] or units.MISSING


def _decimal(value: float) -> str:
    return units.MISSING if math.isnan(value) else f"{value:.3f}"


def _difference(value: float) -> str:
    if math.isnan(value):
        return units.MISSING
    return f"{value:.3f}" if value == 0 or value >= 0.001 else f"{value:.1e}".replace("e-0", "e-")


def _chance(evaluation: Evaluation) -> str:
    p = number(evaluation, "paired", "p_value")
    return units.MISSING if math.isnan(p) else units.p_value(p)


def _interval(evaluation: Evaluation) -> str:
    ends = (number(evaluation, "paired", f"difference_{end}") for end in ("low", "high"))
    return units.points_range(*ends)


def _layers(evaluation: Evaluation) -> str:
    fused, quantizable = (number(evaluation, key) for key in ("fused_layers", "quantizable_layers"))
    if math.isnan(fused) or math.isnan(quantizable):
        return units.MISSING
    return f"{fused:.0f} of {quantizable:.0f}" if quantizable else "none: float"


_LINES = (
    _Line("Architecture", "", _text("architecture")),
    _Line("Test images", "", _number("images", units.exact)),
    _Line("Macro F1", "mean F1 score of the classes", _number("macro_f1", units.percent)),
    _Line(
        "Calibration error", "mean gap of confidence and accuracy", _number("ece", units.percent)
    ),
    _Line("Log loss", "of the true class, in nats", _number("log_loss", _decimal)),
    _Line("Only teacher right", "test images", _paired("only_teacher")),
    _Line("Only stage right", "test images", _paired("only_stage")),
    _Line("Difference", "to teacher, 95% interval", _interval),
    _Line("McNemar test", "chance of that among equals", _chance),
    _Line("Layers in int8", "of those that could be", _layers),
    _Line(
        "File agrees with module",
        "same top class",
        _number("top1_agreement", lambda value: units.percent(value, 2)),
    ),
    _Line(
        "Largest difference",
        "of file and module, in logits",
        _number("max_logit_difference", _difference),
    ),
    _Line("Runtime", "", _text("runtime")),
    _Line("Epochs", "", _number("epochs", units.exact)),
    _Line("Epoch kept", "by its validation loss", _number("best_epoch", units.exact)),
    _Line("Training time", "", _number("training_seconds", units.duration)),
    _Line("Fingerprint", "its first digits", _fingerprint),
)
