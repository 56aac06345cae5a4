"""The verdict on one file: what compression gained and what it cost, with a few warnings.

Knows evaluations and latencies; says only what they carry, and says what is missing. Which file to
judge is the recommendation's business.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import pandas as pd

from model_compression.reporting import units
from model_compression.reporting.pace import AS_FAST, pace
from model_compression.reporting.readings import (
    Evaluation,
    number,
    ratio,
    reference_stage,
    text,
)

SIGNIFICANCE = 0.05
# A file that answers one image in a thousand otherwise than the module it came from deserves a
# warning: such differences are of the size of the accuracy drops that the report is about.
_AGREEMENT = 0.999
_FLOAT_BITS = 32


@dataclass(frozen=True)
class Verdict:
    """What a reader with one minute needs."""

    gain: str
    """The sentence on size and speed."""
    cost: str
    """The sentence on accuracy, with its significance."""
    warnings: tuple[str, ...] = ()
    """What must not be overlooked, a sentence or two each."""

    @property
    def summary(self) -> str:
        """The two sentences."""
        return f"{self.gain} {self.cost}"


def verdict(evaluations: Mapping[str, Evaluation], latency: pd.DataFrame, stage: str) -> Verdict:
    """Judges a stage against the teacher, and warns where any stage does not do what it promises.

    Args:
        evaluations: By stage, in their order, as in ``evaluation.json``.
        latency: Columns ``stage, batch_size, repeat, latency_ms``.
        stage: The one to judge: the recommended one.

    Raises:
        ValueError: If there is no stage or not this one, or the latency table lacks a column.
    """
    teacher = reference_stage(evaluations)
    if stage not in evaluations:
        raise ValueError(
            f"The verdict is to be on {stage}, but only {list(evaluations)} were evaluated: run "
            "the pipeline reporting again."
        )
    warnings = tuple(
        warning
        for before, after in pairwise(evaluations)
        for warning in _speed_warning(evaluations, latency, before, after)
    ) + tuple(
        warning
        for each, evaluation in evaluations.items()
        for warning in (
            *_proof_warnings(each, evaluation),
            *_guard_notes(each, evaluation),
            *_batch_notes(each, evaluation),
        )
    )
    if stage == teacher:
        alone = len(evaluations) == 1
        return Verdict(
            gain=f"Only the {teacher} has been evaluated, so there is nothing to compare yet."
            if alone
            else f"Nothing was gained that is worth shipping in the {teacher}'s place.",
            cost=_own_accuracy(evaluations[teacher]),
            warnings=warnings,
        )
    return Verdict(
        gain=_gain(evaluations, latency, teacher, stage),
        cost=_cost(evaluations, teacher, stage),
        warnings=warnings,
    )


def _gain(
    evaluations: Mapping[str, Evaluation], latency: pd.DataFrame, teacher: str, judged: str
) -> str:
    architecture = text(evaluations[judged], "architecture")
    subject = f"The {judged} {architecture}".rstrip()
    was, now = (number(evaluations[stage], "file_bytes") for stage in (teacher, judged))
    shrunk = ratio(was, now)
    if math.isnan(shrunk):
        file = f"{subject} has no measured file size to compare with the {teacher}'s"
    else:
        change = units.factor(shrunk, more="smaller than", less="larger than", same="as large as")
        file = (
            f"{subject} is {change} the {teacher} ({units.size(now)} instead of {units.size(was)})"
        )
    speed = pace(latency, teacher, judged, 1)
    if speed is None:
        return f"{file}; its latency was not measured."
    same_way = speed.change == AS_FAST or (shrunk > 1) == (speed.gain > 1)
    joint = "and" if same_way else "but"
    return f"{file} {joint} classifies one image {speed.change} ({speed.evidence})."


def _cost(evaluations: Mapping[str, Evaluation], teacher: str, judged: str) -> str:
    now, was = (number(evaluations[stage], "accuracy") for stage in (judged, teacher))
    if math.isnan(now) or math.isnan(was):
        return f"Its accuracy cannot be compared with the {teacher}'s: one of the two is missing."
    images = number(evaluations[judged], "images")
    tested = "the test images" if math.isnan(images) else f"the {units.exact(images)} test images"
    digits = _digits(now, was)
    subject = f"It gets {units.percent(now, digits)} of {tested} right"
    p = number(evaluations[judged], "paired", "p_value")
    if now == was:
        evidence = _evidence(evaluations[judged], p)
        return f"{subject}, exactly as many as the {teacher}{evidence and f' ({evidence})'}."
    word = "below" if now < was else "above"
    change = (
        f"{units.unsigned_points(was - now)} percentage points {word} the {teacher}'s "
        f"{units.percent(was, digits)}"
    )
    if math.isnan(p):
        return f"{subject}, {change}; whether that is more than chance was not tested."
    kind = "loss" if now < was else "gain"
    judgement = (
        f"a {kind} that chance does not explain"
        if p < SIGNIFICANCE
        else "a difference that this test set cannot tell from chance"
    )
    return f"{subject}, {change}: {judgement} ({_evidence(evaluations[judged], p)})."


def _evidence(evaluation: Evaluation, p: float) -> str:
    """The interval of the difference and the test of it, as far as there are any."""
    ends = [number(evaluation, "paired", key) for key in ("difference_low", "difference_high")]
    parts = []
    if not any(map(math.isnan, ends)):
        parts.append(f"95% interval {units.points_range(*ends)}")
    if not math.isnan(p):
        parts.append(f"McNemar {units.p_value(p)}")
    return ", ".join(parts)


def _own_accuracy(evaluation: Evaluation) -> str:
    accuracy = number(evaluation, "accuracy")
    if math.isnan(accuracy):
        return "Its accuracy was not measured."
    low, high = number(evaluation, "accuracy_low"), number(evaluation, "accuracy_high")
    range_ = "" if math.isnan(low + high) else f" (95% interval {units.interval(low, high)})"
    return f"It gets {units.percent(accuracy)} of the test images right{range_}."


def _digits(first: float, second: float) -> int:
    """Enough digits that two different accuracies never read the same."""
    return 1 if first == second or f"{first:.1%}" != f"{second:.1%}" else 2


def _speed_warning(
    evaluations: Mapping[str, Evaluation], latency: pd.DataFrame, before: str, stage: str
) -> list[str]:
    """A warning where a stage is not faster than its source at every batch size measured."""
    paces = [
        (speed, f"{speed.change} {place} ({speed.evidence})")
        for place, batch_size in (("for one image", 1), ("at batch 64", 64))
        if (speed := pace(latency, before, stage, batch_size)) is not None
    ]
    if all(speed.faster for speed, _ in paces):
        return []
    measured = " and ".join(words for _, words in paces)
    somewhere = any(speed.faster for speed, _ in paces)
    evaluation = evaluations[stage]
    if number(evaluation, "quantizable_layers") > 0:
        claim = "is not faster everywhere" if somewhere else "brings no speed here"
        return [
            f"Int8 {claim}: against its float source ({before}), the {stage} file is {measured}."
        ]
    claim = "faster everywhere" if somewhere else "faster"
    zeros = number(evaluation, "parameters") - number(evaluation, "nonzero_parameters")
    reason = " Zeros among dense weights are multiplied like any others." if zeros > 0 else ""
    return [f"The {stage} file is not {claim} than the {before} one: it is {measured}.{reason}"]


def _proof_warnings(stage: str, evaluation: Evaluation) -> list[str]:
    """Warnings where the file does not fully do what its stage promises."""
    warnings = []
    fused, quantizable = (number(evaluation, key) for key in ("fused_layers", "quantizable_layers"))
    if fused < quantizable:
        warnings.append(
            f"Only {fused:.0f} of the {quantizable:.0f} quantizable layers of the {stage} file "
            "run in int8; the others compute in float."
        )
    agreement = number(evaluation, "top1_agreement")
    if agreement < _AGREEMENT:
        warnings.append(
            f"The {stage} file and the module it was exported from agree on only "
            f"{units.percent(agreement)} of the test images; the numbers here are the file's."
        )
    return warnings


def _guard_notes(stage: str, evaluation: Evaluation) -> list[str]:
    """What the accuracy guard has given back, and why."""
    guard = evaluation.get("guard")
    if not guard:
        return []
    allowed = units.unsigned_points(guard["max_accuracy_drop"])
    rule = f"that interval may end at {allowed}" if guard["certain"] else f"{allowed} were allowed"
    lost = units.unsigned_points(guard["drop_before"]["drop"])
    why = (
        f"The {stage} network lost {lost} percentage points ({_interval(guard['drop_before'])}) on "
        f"the {units.exact(guard['images'])} validation images, where {rule}"
    )
    if guard["source_kept"]:
        return [
            f"{why}, and no precision of its layers held it: the file holds the network as it was "
            "before that stage, in floats."
        ]
    if not guard["returned"]:
        return []
    layers = ", ".join(
        f"{step['layer']} ({_bits(step['bits'])}; {step['loss_without']:.4f})"
        for step in guard["returned"]
    )
    left = units.unsigned_points(guard["drop"]["drop"])
    return [
        f"{why}: more bits were given back to {layers}; the second figure is the validation loss "
        "with that layer alone in floats, by which they took their turns. It loses "
        f"{left} now ({_interval(guard['drop'])})."
    ]


def _interval(drop: Mapping[str, float]) -> str:
    return f"95% interval {units.points_range(drop['low'], drop['high'])}"


def _batch_notes(stage: str, evaluation: Evaluation) -> list[str]:
    """What the batch does to the answers, where they depend on it."""
    if "one_by_one" not in evaluation:
        return []
    alone = {
        key: number(evaluation, "one_by_one", key)
        for key in ("batch_size", "accuracy", "top1_agreement")
    }
    digits = _digits(number(evaluation, "accuracy"), alone["accuracy"])
    return [
        f"An answer of the {stage} file depends on the images that it is asked about with, because "
        "activations are quantized by each batch's own range. The figures are of batches of "
        f"{units.exact(alone['batch_size'])}; asked one by one, the file gets "
        f"{units.percent(alone['accuracy'], digits)} of the test images right and answers "
        f"{units.percent(alone['top1_agreement'])} of them alike."
    ]


def _bits(bits: int) -> str:
    return "floats" if bits == _FLOAT_BITS else f"{bits} bits"
