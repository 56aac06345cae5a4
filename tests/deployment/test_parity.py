import numpy as np
import pytest

from model_compression.deployment import compare_logits


def test_agreement_and_difference_are_told_apart():
    ours = np.array([[1.0, 2.0], [3.0, 0.0], [0.0, 1.0], [2.0, 5.0]], np.float32)
    theirs = np.array([[1.0, 2.5], [3.0, 0.0], [1.5, 1.0], [2.0, 5.0]], np.float32)
    assert compare_logits(ours, theirs) == (0.75, 1.5)


def test_the_same_logits_agree_fully():
    logits = np.eye(3)
    assert compare_logits(logits, logits) == (1.0, 0.0)


@pytest.mark.parametrize("other", [np.zeros((2, 2)), np.zeros((3, 1)), np.zeros(3)])
def test_logits_of_other_images_are_refused(other: np.ndarray):
    with pytest.raises(ValueError, match=r"the file gave \(3, 2\), the module"):
        compare_logits(np.zeros((3, 2)), other)
    with pytest.raises(ValueError, match="N >= 1"):
        compare_logits(np.zeros((0, 2)), np.zeros((0, 2)))
