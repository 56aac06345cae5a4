"""How the stages' files generalise, side by side: tables, figures and the report's chapter."""

from typing import Any

import pandas as pd
from plotly.graph_objects import Figure

from model_compression.evaluation import class_changes, disagreements, mean_corruption_error
from model_compression.images import ImageSet, thumbnail
from model_compression.reporting import Section
from model_compression.reporting.figures.class_changes import class_changes_figure
from model_compression.reporting.figures.corruptions import corruption_figure
from model_compression.reporting.figures.reliability import reliability_figure
from model_compression.reporting.generalisation import SHOWN_DISAGREEMENTS, generalisation_section


def compare_generalisation(
    generalisations: dict[str, dict[str, Any]],
    corruptions: dict[str, pd.DataFrame],
    predictions: dict[str, pd.DataFrame],
    evaluations: dict[str, dict[str, Any]],
) -> pd.DataFrame:
    """A row a stage: what corruptions leave of its accuracy, and how far it differs.

    ``mce`` is the mean corruption error over the teacher's, ``disagreement`` the share of the test
    images to which the stage and the teacher give different answers.

    Raises:
        ValueError: If a stage's measurement is of another file than its evaluation.
    """
    for stage, measured in generalisations.items():
        if measured["checkpoint"] != evaluations[stage]["fingerprint"]:
            raise ValueError(
                f"{stage}: generalisation.json is of another file than evaluation.json: run "
                "kedro run --pipeline=generalisation"
            )
    teacher = next(iter(generalisations))
    rows = []
    for stage, measured in generalisations.items():
        differing = predictions[stage]["predicted"] != predictions[teacher]["predicted"]
        rows.append(
            {
                "stage": stage,
                "corrupted_images": measured["corrupted_images"],
                "uncorrupted_accuracy": measured["uncorrupted_accuracy"],
                "mean_corruption_accuracy": measured["mean_corruption_accuracy"],
                "mce": mean_corruption_error(corruptions[stage], corruptions[teacher]),
                "training_images": measured["training_images"],
                "training_images_accuracy": measured["training_images_accuracy"],
                "train_test_gap": measured["train_test_gap"],
                "train_test_gap_low": measured["train_test_gap_low"],
                "train_test_gap_high": measured["train_test_gap_high"],
                "disagreement": float(differing.mean()),
            }
        )
    return pd.DataFrame(rows)


def compare_classes(
    predictions: dict[str, pd.DataFrame], confusions: dict[str, pd.DataFrame]
) -> pd.DataFrame:
    """What each class gained or lost against the teacher, for every other stage."""
    teacher, *others = predictions
    classes = [str(name) for name in confusions[teacher].columns]
    tables = [
        class_changes(predictions[teacher], predictions[stage], classes).assign(stage=stage)
        for stage in others
    ]
    table = pd.concat(tables, ignore_index=True)
    return table[["stage", *(column for column in table.columns if column != "stage")]]


def find_disagreements(
    predictions: dict[str, pd.DataFrame], recommendation: dict[str, Any]
) -> pd.DataFrame:
    """The test images that divide the teacher's file and the recommended one, if it is another."""
    teacher = next(iter(predictions))
    return disagreements(predictions[teacher], predictions[recommendation["stage"]])


def draw_generalisation(
    corruptions: dict[str, pd.DataFrame],
    reliabilities: dict[str, pd.DataFrame],
    changes: pd.DataFrame,
) -> tuple[Figure, Figure, Figure]:
    """Accuracy by corruption, reliability, and the change of every class."""
    return (
        corruption_figure(corruptions),
        reliability_figure(reliabilities),
        class_changes_figure(changes),
    )


def write_chapter(
    comparison: pd.DataFrame,
    corruptions: dict[str, pd.DataFrame],
    reliabilities: dict[str, pd.DataFrame],
    evaluations: dict[str, dict[str, Any]],
    changes: pd.DataFrame,
    differing: pd.DataFrame,
    recommendation: dict[str, Any],
    test_images: ImageSet,
) -> Section:
    """The report's chapter, with the images on which teacher and recommended file disagree."""
    shown = differing.head(SHOWN_DISAGREEMENTS)
    images = test_images.images[shown["index"].to_numpy()]
    return generalisation_section(
        comparison,
        corruptions,
        reliabilities,
        evaluations,
        changes,
        differing,
        [thumbnail(image) for image in images],
        test_images.classes,
        recommendation["stage"],
    )
