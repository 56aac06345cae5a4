"""One file beyond the test images as they are: corrupted ones, known ones, and its own sureness."""

import hashlib
import logging
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from model_compression.deployment import OnnxModel, OnnxRuntimeClassifier
from model_compression.evaluation import (
    accuracy_by_corruption,
    accuracy_under_corruptions,
    difference_interval,
    mean_corruption_accuracy,
    reliability_table,
)
from model_compression.fingerprint import fingerprint
from model_compression.images import ImageSet, stratified_subset
from model_compression.pipelines.generalisation.parameters import GeneralisationParameters

logger = logging.getLogger(__name__)

VERSION = 1
"""Of what is measured: another one makes stored measurements void."""


def measure_generalisation(
    model: OnnxModel,
    test_images: ImageSet,
    train_images: ImageSet,
    predictions: pd.DataFrame,
    parameters: GeneralisationParameters,
    known: dict[str, Any] | None,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Asks the file about corrupted test images and about images that it was trained on.

    Args:
        model: The stage's file.
        test_images: Some of them are corrupted.
        train_images: The stage's own.
        predictions: What the file says of the test images, a row an image.
        parameters: On how many images, and the seed.
        known: What was measured before, or ``None``; given back if it is of the very same file,
            images and parameters.

    Returns:
        The accuracy under each corruption at each severity, and everything in numbers.
    """
    key = fingerprint(
        VERSION,
        hashlib.sha256(model.content).hexdigest(),
        test_images.fingerprint,
        train_images.fingerprint,
        parameters,
    )
    if known is not None and known["fingerprint"] == key:
        logger.info("%s: its file has not changed, nor has how it generalises", model.stage)
        return pd.DataFrame(known["corruptions"]), known
    classifier = OnnxRuntimeClassifier(model)
    corruptions = accuracy_under_corruptions(
        classifier.logits,
        test_images,
        _some(test_images, parameters.corrupted_images, parameters.seed),
        parameters.seed,
    )
    learned = train_images.subset(_some(train_images, parameters.training_images, parameters.seed))
    right = (
        int(np.count_nonzero(classifier.logits(learned.images).argmax(axis=1) == learned.labels)),
        int((predictions["label"] == predictions["predicted"]).sum()),
    )
    images = (len(learned), len(predictions))
    low, high = difference_interval(right, images)
    return corruptions, {
        "stage": model.stage,
        "fingerprint": key,
        "checkpoint": model.fingerprint,
        "corrupted_images": int(corruptions["images"].max()),
        "uncorrupted_accuracy": float(corruptions["accuracy"].iloc[0]),
        "mean_corruption_accuracy": mean_corruption_accuracy(corruptions),
        "corruption_accuracy": accuracy_by_corruption(corruptions).to_dict(),
        "training_images": images[0],
        "training_images_accuracy": right[0] / images[0],
        "train_test_gap": right[0] / images[0] - right[1] / images[1],
        "train_test_gap_low": low,
        "train_test_gap_high": high,
        "corruptions": corruptions.to_dict(orient="records"),
    }


def measure_reliability(predictions: pd.DataFrame) -> pd.DataFrame:
    """How often the file is right on the test images when it is so sure, bin by bin."""
    correct = (predictions["label"] == predictions["predicted"]).to_numpy()
    return reliability_table(predictions["confidence"].to_numpy(), correct)


def _some(image_set: ImageSet, size: int | None, seed: int) -> NDArray[np.int64]:
    return stratified_subset(image_set.labels, len(image_set) if size is None else size, seed)
