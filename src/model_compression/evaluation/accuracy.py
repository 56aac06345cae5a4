"""How well logits fit labels, in a few numbers.

Knows logits and labels; not which network, file or runtime gave them.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from model_compression.evaluation.calibration import expected_calibration_error, softmax
from model_compression.evaluation.intervals import wilson_interval
from model_compression.parameters import Parameters


class AccuracySummary(Parameters):
    """The quality of a classifier on a set of images; accuracies are fractions."""

    images: int
    """Number of images."""
    accuracy: float
    """Share of images whose largest logit is the label's."""
    accuracy_low: float
    """Lower end of the accuracy's 95 % Wilson interval."""
    accuracy_high: float
    """Upper end of the accuracy's 95 % Wilson interval."""
    macro_f1: float
    """Mean over all classes of the harmonic mean of precision and recall."""
    ece: float
    """Expected calibration error over 15 bins."""
    log_loss: float
    """Mean of -log p(label), in nats."""


def summarise(
    logits: NDArray[np.floating], labels: NDArray[np.integer], classes: Sequence[str]
) -> AccuracySummary:
    """Summarises a classifier's logits on labelled images.

    Args:
        logits: Shape (N, K).
        labels: Shape (N,), from 0 to K-1.
        classes: The K classes' names; a class without an image and without a prediction counts
            with an F1 of 0.

    Raises:
        ValueError: If the shapes don't fit, there are no images, a label has no class, or a logit
            is not finite.
    """
    # scikit-learn's metrics would take a part of the time until a run's first node.
    from sklearn.metrics import f1_score  # noqa: PLC0415

    _check(logits, labels, len(classes))
    predicted = logits.argmax(axis=1)
    correct = int(np.count_nonzero(predicted == labels))
    low, high = wilson_interval(correct, len(labels))
    probabilities = softmax(logits)
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    log_likelihood = shifted[np.arange(len(labels)), labels] - np.log(np.exp(shifted).sum(axis=1))
    return AccuracySummary(
        images=len(labels),
        accuracy=correct / len(labels),
        accuracy_low=low,
        accuracy_high=high,
        macro_f1=float(
            f1_score(
                labels, predicted, labels=range(len(classes)), average="macro", zero_division=0.0
            )
        ),
        ece=expected_calibration_error(probabilities, labels),
        log_loss=float(-log_likelihood.mean()),
    )


def _check(logits: NDArray[np.floating], labels: NDArray[np.integer], classes: int) -> None:
    if len(labels) == 0 or labels.ndim != 1 or logits.shape != (len(labels), classes):
        raise ValueError(
            f"Expected labels (N,) with N >= 1 and logits (N, {classes}), one per class; "
            f"got {labels.shape} and {logits.shape}."
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"Expected labels from 0 to {classes - 1}; got {labels.min()} to {labels.max()}."
        )
    if not np.isfinite(logits).all():
        raise ValueError(
            "Expected finite logits; some are infinite or not a number, so the network has "
            "diverged. Train it with a lower learning rate."
        )
