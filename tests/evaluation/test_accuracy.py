import math

import numpy as np
import pytest

from model_compression.evaluation import summarise, wilson_interval


def test_a_hand_computed_summary():
    logits = np.log(np.array([[0.8, 0.2], [0.6, 0.4], [0.3, 0.7], [0.9, 0.1]], np.float32))
    summary = summarise(logits, np.array([0, 0, 1, 1]), ("a", "b"))
    assert summary.images == 4
    assert summary.accuracy == 0.75
    assert (summary.accuracy_low, summary.accuracy_high) == wilson_interval(3, 4)
    assert summary.macro_f1 == pytest.approx((0.8 + 2 / 3) / 2)
    assert summary.log_loss == pytest.approx(
        -(math.log(0.8) + math.log(0.6) + math.log(0.7) + math.log(0.1)) / 4, rel=1e-6
    )
    assert summary.ece == pytest.approx((0.2 + 0.4 + 0.3 + 0.9) / 4, rel=1e-6)


def test_logits_far_apart_give_a_finite_loss():
    summary = summarise(np.array([[1e30, -1e30]], np.float32), np.array([1]), ("a", "b"))
    assert summary.log_loss == pytest.approx(2e30)


def test_a_class_that_neither_occurs_nor_is_predicted_lowers_the_macro_f1():
    summary = summarise(np.array([[2.0, 1.0, 0.0]]), np.array([0]), ("a", "b", "c"))
    assert summary.accuracy == 1
    assert summary.macro_f1 == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (np.zeros((2, 3)), np.array([0, 1]), r"logits \(N, 2\)"),
        (np.zeros((0, 2)), np.zeros(0, int), "N >= 1"),
        (np.zeros((1, 2)), np.array([2]), "labels from 0 to 1"),
        (np.array([[0.0, np.nan]]), np.array([0]), "diverged"),
    ],
)
def test_what_cannot_be_judged_is_refused(logits, labels, message):
    with pytest.raises(ValueError, match=message):
        summarise(logits, labels, ("a", "b"))
