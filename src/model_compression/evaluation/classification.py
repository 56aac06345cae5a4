"""Per-class tables of a classifier's results.

Knows labels and class names; scikit-learn counts.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def classification_tables(
    labels: NDArray[np.integer], predicted: NDArray[np.integer], classes: Sequence[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Precision, recall and F1 of each class, and the confusion matrix.

    Args:
        labels: True classes, shape (N,), from 0 to len(classes)-1.
        predicted: Predicted classes, the same shape and range.
        classes: The classes' names.

    Returns:
        ``report`` with the columns class, precision, recall, f1, images: a row per class, then
        ``macro average`` and ``weighted average``; and ``confusion`` with the true class as index,
        the predicted one as columns, and counts of images. A measure that would divide by zero
        is 0.

    Raises:
        ValueError: If the arrays' shapes differ, are empty, or an index has no name.
    """
    # scikit-learn's metrics would take a part of the time until a run's first node.
    from sklearn.metrics import classification_report, confusion_matrix  # noqa: PLC0415

    _check(labels, predicted, len(classes))
    indices = list(range(len(classes)))
    details = classification_report(
        labels,
        predicted,
        labels=indices,
        target_names=[str(index) for index in indices],
        output_dict=True,
        zero_division=0.0,
    )
    keys = [str(index) for index in indices] + ["macro avg", "weighted avg"]
    names = [*classes, "macro average", "weighted average"]
    rows = [
        {
            "class": name,
            "precision": details[key]["precision"],
            "recall": details[key]["recall"],
            "f1": details[key]["f1-score"],
            "images": int(details[key]["support"]),
        }
        for key, name in zip(keys, names, strict=True)
    ]
    counts = confusion_matrix(labels, predicted, labels=indices)
    confusion = pd.DataFrame(
        counts,
        index=pd.Index(list(classes), name="true"),
        columns=pd.Index(list(classes), name="predicted"),
    )
    return pd.DataFrame(rows), confusion


def _check(
    labels: NDArray[np.integer], predicted: NDArray[np.integer], number_of_classes: int
) -> None:
    if labels.ndim != 1 or labels.shape != predicted.shape or len(labels) == 0:
        raise ValueError(
            "Expected labels and predictions of the same shape (N,) with N >= 1; "
            f"got {labels.shape} and {predicted.shape}."
        )
    for name, values in (("labels", labels), ("predictions", predicted)):
        if values.min() < 0 or values.max() >= number_of_classes:
            raise ValueError(
                f"Expected {name} from 0 to {number_of_classes - 1}, one per class name; "
                f"got {values.min()} to {values.max()}."
            )
