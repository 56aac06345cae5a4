"""The report's chapter on how far the test images' accuracy carries.

Knows the tables of corruptions, reliability and differences, not how they were measured.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from model_compression.reporting import units
from model_compression.reporting.figures.class_changes import SIGNIFICANT, class_changes_figure
from model_compression.reporting.figures.corruptions import (
    corruption_figure,
    corruption_in_words,
    severity_heatmap,
)
from model_compression.reporting.figures.reliability import reliability_figure
from model_compression.reporting.readings import Evaluation, number, reference_stage, scalar
from model_compression.reporting.sections import (
    Block,
    Cell,
    Chart,
    Gallery,
    Picture,
    Pictures,
    Section,
    Table,
)

SHOWN_DISAGREEMENTS = 24
"""Pictures in the report; the table on disk has all."""


def generalisation_section(
    comparison: pd.DataFrame,
    corruptions: Mapping[str, pd.DataFrame],
    reliabilities: Mapping[str, pd.DataFrame],
    evaluations: Mapping[str, Evaluation],
    changes: pd.DataFrame,
    differing: pd.DataFrame,
    pictures: Sequence[bytes],
    classes: Sequence[str],
    recommended: str,
) -> Section:
    """Corruptions, train-test gap, reliability, change by class, and disagreements as pictures.

    Args:
        comparison: A row a stage, as in ``generalisation.csv``.
        corruptions: By stage: the accuracy under each corruption at each severity.
        reliabilities: By stage: a row a bin of confidence.
        evaluations: By stage, as in ``evaluation.json``.
        changes: A row a stage and class, as in ``class_changes.csv``.
        differing: A row a test image on which teacher and recommended file disagree, the most
            confident first.
        pictures: PNG files of the first of these images.
        classes: Names of the classes.
        recommended: The stage whose file is to be shipped.
    """
    stages = list(corruptions)
    images = units.exact(scalar(comparison["corrupted_images"].iloc[0]))
    blocks: list[Block] = [
        _overview(comparison, evaluations),
        Chart(
            corruption_figure(corruptions),
            f"Accuracy of {', '.join(stages)} under each corruption, mean of five severities.",
            note=_worst(corruptions[recommended], recommended),
        ),
        Gallery(
            tuple(
                Chart(
                    severity_heatmap(table, stage),
                    f"Accuracy of {stage} in percent by corruption and severity.",
                )
                for stage, table in corruptions.items()
            )
        ),
        Gallery(
            tuple(
                Chart(
                    reliability_figure({stage: table}),
                    f"Share of right answers of {stage} against its confidence, in bins; "
                    f"calibration error {units.percent(number(evaluations[stage], 'ece'))}.",
                )
                for stage, table in reliabilities.items()
            )
        ),
    ]
    if not changes.empty:
        blocks.append(
            Chart(
                class_changes_figure(changes),
                "Change of each class's accuracy against the teacher, in percentage points.",
                note=_class_note(changes),
            )
        )
    if recommended != stages[0]:
        blocks.append(_disagreements(differing, pictures, classes, stages[0], recommended))
    return Section(
        "generalisation",
        "Generalisation",
        f"How far the accuracy on clean test images carries: {images} of them under 15 common "
        "corruptions at 5 severities (after Hendrycks and Dietterich, 2019), images that the "
        "network was trained on, and whether it is right as often as it claims to be. Numbers in "
        "the heat maps are percent right; the colour is what is lost against the clean images. On "
        "the dotted line of a reliability diagram a file is as right as it is sure; marks below it "
        "are too sure, their area goes with the images.",
        tuple(blocks),
    )


def _overview(comparison: pd.DataFrame, evaluations: Mapping[str, Evaluation]) -> Table:
    reference = reference_stage([str(stage) for stage in comparison["stage"]])
    rows = []
    for row in comparison.to_dict(orient="records"):
        stage = str(row["stage"])
        value = {str(key): scalar(item) for key, item in row.items() if key != "stage"}
        rows.append(
            (
                Cell(stage, stage=stage),
                Cell(
                    units.percent(value["mean_corruption_accuracy"]),
                    detail=f"{units.percent(value['uncorrupted_accuracy'])} clean",
                ),
                Cell("reference" if stage == reference else _ratio(value["mce"])),
                Cell(units.percent(number(evaluations[stage], "ece"))),
                Cell(
                    units.points(value["train_test_gap"]),
                    detail=_range(value["train_test_gap_low"], value["train_test_gap_high"]),
                ),
                Cell(
                    units.percent(value["training_images_accuracy"]),
                    detail=f"{units.percent(number(evaluations[stage], 'accuracy'))} test",
                ),
                Cell("reference" if stage == reference else units.percent(value["disagreement"])),
            )
        )
    trained = units.exact(scalar(comparison["training_images"].iloc[0]))
    return Table(
        head=(
            "Stage",
            "Corrupted",
            "mCE",
            "Calibration error",
            "Train-test gap",
            "Training images",
            f"Differs from {reference}",
        ),
        rows=tuple(rows),
        caption=(
            "Corrupted: mean accuracy over corruptions and severities, and that of the same images "
            f"clean. mCE: errors under each corruption over the {reference}'s, averaged; below 1 "
            f"is more robust. Train-test gap: accuracy on {trained} training images without "
            "augmentation minus that on all test images, with a 95% interval. Differs: share of "
            "test images that get another answer, right or wrong."
        ),
        stacked=True,
    )


def _disagreements(
    differing: pd.DataFrame,
    pictures: Sequence[bytes],
    classes: Sequence[str],
    teacher: str,
    shipped: str,
) -> Pictures:
    shown = []
    for png, row in zip(pictures, differing.to_dict(orient="records"), strict=False):
        truth, first, second = (classes[int(row[key])] for key in ("label", "reference", "stage"))
        shown.append(
            Picture(
                png,
                f"Test image {row['index']}, a {truth}; {teacher} says {first}, {shipped} "
                f"{second}.",
                truth,
                {
                    teacher: _answer(first, truth, row["reference_confidence"]),
                    shipped: _answer(second, truth, row["stage_confidence"]),
                },
            )
        )
    right = {
        "reference": int((differing["reference"] == differing["label"]).sum()),
        "stage": int((differing["stage"] == differing["label"]).sum()),
    }
    neither = len(differing) - right["reference"] - right["stage"]
    return Pictures(
        tuple(shown),
        title=f"Where {teacher} and {shipped} disagree",
        caption=(
            f"They disagree on {units.exact(len(differing))} test images: {teacher} is right on "
            f"{units.exact(right['reference'])}, {shipped} on {units.exact(right['stage'])}, "
            f"neither on {units.exact(neither)}. "
            + (
                f"Here are the {len(shown)} on which the less sure of the two is surest: the "
                "label, and who says what how surely; a tick marks the right answer."
                if shown
                else ""
            )
        ),
    )


def _answer(said: str, truth: str, confidence: float) -> str:
    mark = "\u2713 " if said == truth else ""
    return f"{mark}{said}, {units.percent(float(confidence), 0)}"


def _worst(table: pd.DataFrame, stage: str) -> str:
    """Under which corruptions the file does worst and best."""
    means = table.groupby("corruption", sort=False)["accuracy"].mean()
    change = (means.drop("none") - means["none"]).sort_values(kind="stable")
    worst, best = (
        f"{corruption_in_words(str(change.index[place]))} "
        f"({units.points(float(change.iloc[place]))})"
        for place in (0, -1)
    )
    return f"Against clean images, the {stage} file does worst under {worst}, best under {best}."


def _class_note(changes: pd.DataFrame) -> str:
    clear = changes[changes["p_value"] < SIGNIFICANT]
    note = (
        "Filled marks: changes that chance hardly makes (McNemar's exact test, Holm's correction "
        "for the number of classes, p < 0.05). "
    )
    if clear.empty:
        return note + "There is none."
    worst = clear.sort_values("change", kind="stable").iloc[0]
    fell = int((clear["change"] < 0).sum())
    return note + (
        f"{len(clear)} of {len(changes)}, of which {fell} fell"
        + (
            f"; most: {worst['class']} of {worst['stage']}, {units.points(float(worst['change']))}."
            if fell
            else "."
        )
    )


def _ratio(value: float) -> str:
    return units.MISSING if np.isnan(value) else f"{value:.2f}"


def _range(low: float, high: float) -> str:
    if np.isnan(low) or np.isnan(high):
        return ""
    return f"{units.points(low).removesuffix(f'{units.SPACE}pp')} to {units.points(high)}"
