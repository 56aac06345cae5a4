"""What is left of a classifier's accuracy on corrupted images, and how that compares.

Knows classifiers as functions from bytes to logits; which file or runtime is behind one, its
caller knows.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from model_compression.evaluation.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from model_compression.images import ImageSet

Predict = Callable[[NDArray[np.uint8]], NDArray[np.floating]]
"""Bytes (N, C, H, W) to logits (N, K)."""

CORRUPTION_COLUMNS = ("corruption", "family", "severity", "images", "accuracy")

_MOST_IMAGES = 500
_MOST_VALUES = 2**22
"""Bytes of a batch; its random numbers take some twenty times as much memory."""


def accuracy_under_corruptions(
    predict: Predict, image_set: ImageSet, positions: NDArray[np.int64], seed: int
) -> pd.DataFrame:
    """The accuracy under every corruption at every severity.

    Args:
        predict: The classifier.
        image_set: The clean images.
        positions: Of those that are corrupted and asked about; with the seed, an image's position
            decides its noise, so that a smaller choice sees the same images.
        seed: Of the corruptions.

    Returns:
        The columns corruption, family, severity, images and accuracy; severity 0, of the
        corruption ``none``, are the clean images.
    """
    right = {("none", 0): 0} | {(name, level): 0 for name in CORRUPTIONS for level in SEVERITIES}
    size = max(1, min(_MOST_IMAGES, _MOST_VALUES // int(np.prod(image_set.image_shape))))
    for start in range(0, len(positions), size):
        chosen = positions[start : start + size]
        labels = image_set.labels[chosen]
        clean = torch.from_numpy(np.array(image_set.images[chosen]))
        indices = torch.from_numpy(chosen)
        for name, level in right:
            images = corrupt(clean, indices, name, level, seed) if level else clean
            predicted = predict(images.numpy()).argmax(axis=1)
            right[name, level] += int(np.count_nonzero(predicted == labels))
    return pd.DataFrame(
        [
            (name, CORRUPTIONS.get(name, "none"), level, len(positions), count / len(positions))
            for (name, level), count in right.items()
        ],
        columns=list(CORRUPTION_COLUMNS),
    )


def mean_corruption_accuracy(table: pd.DataFrame) -> float:
    """The mean over all corruptions and severities, the clean images not among them."""
    return float(accuracy_by_corruption(table).mean())


def accuracy_by_corruption(table: pd.DataFrame) -> "pd.Series[float]":
    """The mean over the severities of each corruption, in the table's order."""
    corrupted = table[table["severity"] > 0]
    return corrupted.groupby("corruption", sort=False)["accuracy"].mean()


def mean_corruption_error(table: pd.DataFrame, reference: pd.DataFrame) -> float:
    """The mCE: mean over corruptions of Σ_s error_s / Σ_s error_s of the reference.

    Hendrycks and Dietterich (ICLR 2019), section 4.1, as a ratio instead of percent. At 1 the
    classifier errs as often as the reference, which makes corruptions of any difficulty count
    alike.

    Args:
        table: As ``accuracy_under_corruptions`` gives it.
        reference: The same of the classifier that is compared with.

    Returns:
        NaN if the reference makes no error under some corruption, since nothing can be related to
        that.

    Raises:
        ValueError: If the two are not about the same corruptions and numbers of images.
    """
    keys = ["corruption", "severity", "images"]
    if table[keys].to_numpy().tolist() != reference[keys].to_numpy().tolist():
        raise ValueError(
            "Expected two tables about the same corruptions, severities and numbers of images; got "
            f"{len(table)} rows of {table['images'].max()} images and {len(reference)} rows of "
            f"{reference['images'].max()}. Measure both with the same parameters."
        )
    errors = 1 - accuracy_by_corruption(table)
    against = 1 - accuracy_by_corruption(reference)
    return float((errors / against).mean()) if (against > 0).all() else float("nan")
