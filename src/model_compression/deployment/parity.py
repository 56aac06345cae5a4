"""Whether the deployed file does what its PyTorch module does.

Knows two arrays of logits; not who computed them.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Parity(NamedTuple):
    """How well two computations of the same network agree."""

    top1_agreement: float
    """Share of the images that both put into the same class."""
    max_abs_difference: float
    """Largest difference between two logits."""


def compare_logits(
    file_logits: NDArray[np.floating], module_logits: NDArray[np.floating]
) -> Parity:
    """Compares the file's logits to the module's on the same images, both of shape (N, classes).

    Raises:
        ValueError: If the shapes differ or there are no images.
    """
    if file_logits.shape != module_logits.shape or file_logits.ndim != 2 or not len(file_logits):
        raise ValueError(
            "Expected the logits of the same images and classes, shape (N, classes) with N >= 1; "
            f"the file gave {file_logits.shape}, the module {module_logits.shape}."
        )
    difference = file_logits.astype(np.float64) - module_logits.astype(np.float64)
    same = file_logits.argmax(axis=1) == module_logits.argmax(axis=1)
    return Parity(float(same.mean()), float(np.abs(difference).max()))
