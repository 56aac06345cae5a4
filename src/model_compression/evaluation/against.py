"""Two classifiers' answers to the same images: who differs where, class by class.

Knows tables of predictions; nothing of the classifiers.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from model_compression.evaluation.paired import mcnemar_test

CLASS_CHANGE_COLUMNS = (
    "class",
    "images",
    "reference_accuracy",
    "accuracy",
    "change",
    "only_reference",
    "only_stage",
    "p_value",
)
DISAGREEMENT_COLUMNS = (
    "index",
    "label",
    "reference",
    "reference_confidence",
    "stage",
    "stage_confidence",
)


def class_changes(
    reference: pd.DataFrame, stage: pd.DataFrame, classes: Sequence[str]
) -> pd.DataFrame:
    """What each class gained or lost, with McNemar's exact test.

    The p-values are Holm's (Scandinavian Journal of Statistics 1979): the chance that any class at
    all changes so much if none truly did. With ten classes, one in ten would have p < 0.1 without.

    Args:
        reference: Columns index, label, predicted: a row an image.
        stage: The same of the other classifier, on the same images.
        classes: The classes' names.

    Returns:
        A row a class that has images: ``images``, both accuracies, ``change`` (the stage's minus
        the reference's), the images that only one got right, and ``p_value``.

    Raises:
        ValueError: If the two are not about the same images.
    """
    _check(reference, stage)
    right = {
        "reference": (reference["label"] == reference["predicted"]).to_numpy(),
        "stage": (stage["label"] == stage["predicted"]).to_numpy(),
    }
    labels = reference["label"].to_numpy()
    rows = []
    for number in np.unique(labels):
        of_class = labels == number
        before, after = right["reference"][of_class], right["stage"][of_class]
        result = mcnemar_test(before, after)
        rows.append(
            (
                classes[number],
                len(before),
                before.mean(),
                after.mean(),
                (int(after.sum()) - int(before.sum())) / len(before),
                result.only_a,
                result.only_b,
                result.p_value,
            )
        )
    table = pd.DataFrame(rows, columns=list(CLASS_CHANGE_COLUMNS))
    table["p_value"] = holm(table["p_value"].to_numpy())
    return table


def disagreements(reference: pd.DataFrame, stage: pd.DataFrame) -> pd.DataFrame:
    """The images to which the two give different answers, the most confident ones first.

    A disagreement is as confident as the less sure of the two is: at the top stand images of which
    each is sure that it shows something else.

    Args:
        reference: Columns index, label, predicted, confidence: a row an image.
        stage: The same of the other classifier, on the same images.

    Returns:
        A row an image: ``index``, ``label``, and both answers with their confidence.

    Raises:
        ValueError: If the two are not about the same images.
    """
    _check(reference, stage)
    table = pd.DataFrame(
        {
            "index": reference["index"].to_numpy(),
            "label": reference["label"].to_numpy(),
            "reference": reference["predicted"].to_numpy(),
            "reference_confidence": reference["confidence"].to_numpy(),
            "stage": stage["predicted"].to_numpy(),
            "stage_confidence": stage["confidence"].to_numpy(),
        },
        columns=list(DISAGREEMENT_COLUMNS),
    )
    differing = table[table["reference"] != table["stage"]]
    both = differing[["reference_confidence", "stage_confidence"]].min(axis=1)
    order = np.argsort(-both.to_numpy(), kind="stable")
    return differing.iloc[order].reset_index(drop=True)


def holm(p_values: np.ndarray) -> np.ndarray:
    """Holm's adjusted p-values: max over i ≤ j of min(1, (m - i + 1) · p₍ᵢ₎), in the given order.

    Args:
        p_values: Of m tests, shape (m,).
    """
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.maximum.accumulate(np.minimum(1, factors * p_values[order]))
    result = np.empty_like(adjusted)
    result[order] = adjusted
    return result


def _check(reference: pd.DataFrame, stage: pd.DataFrame) -> None:
    keys = ["index", "label"]
    if not np.array_equal(reference[keys].to_numpy(), stage[keys].to_numpy()):
        raise ValueError(
            f"Expected predictions of the same images in the same order; got {len(reference)} and "
            f"{len(stage)} rows whose index or label differs. Evaluate both on the same test set."
        )
