import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from model_compression.evaluation import expected_calibration_error, reliability_table, softmax

logits = arrays(
    np.float32,
    array_shapes(min_dims=2, max_dims=2, max_side=8),
    elements=st.floats(-(2.0**100), 2.0**100, width=32),
)


@given(logits)
def test_softmax_gives_probabilities_of_any_finite_logits(values: np.ndarray):
    probabilities = softmax(values)
    assert np.all((probabilities >= 0) & (probabilities <= 1))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)


def test_softmax_is_its_formula():
    np.testing.assert_allclose(softmax(np.log([[1.0, 2.0, 5.0]])), [[0.125, 0.25, 0.625]])


@given(logits, st.integers(1, 20), st.randoms(use_true_random=False))
def test_the_error_is_the_sum_over_bins_of_the_definition(values, bins, random):
    probabilities = softmax(values)
    labels = np.array([random.randrange(values.shape[1]) for _ in values])
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    expected = 0.0
    for index in range(bins):
        inside = np.ceil(confidence * bins) == index + 1
        if index == bins - 1:
            inside |= np.ceil(confidence * bins) > bins
        if inside.any():
            gap = abs(correct[inside].mean() - confidence[inside].mean())
            expected += inside.mean() * gap
    assert expected_calibration_error(probabilities, labels, bins) == pytest.approx(
        expected, abs=1e-12
    )


def test_a_hand_computed_error():
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.3, 0.7]])
    labels = np.array([0, 1, 0, 1])
    # (|1 - 1.8| + |1 - 0.6| + |1 - 0.7|) / 4 over the bins of 0.9, 0.6 and 0.7.
    assert expected_calibration_error(probabilities, labels, bins=10) == pytest.approx(0.375)


def test_as_sure_as_right_is_no_error():
    probabilities = np.array([[0.75, 0.25]] * 4)
    assert expected_calibration_error(probabilities, np.array([0, 0, 0, 1])) == 0


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"got \(3, 2\) and \(2,\)"):
        expected_calibration_error(np.ones((3, 2)) / 2, np.zeros(2, int))
    with pytest.raises(ValueError, match="N >= 1"):
        expected_calibration_error(np.ones((0, 2)), np.zeros(0, int))
    with pytest.raises(ValueError, match="at least 1 bin"):
        expected_calibration_error(np.ones((1, 1)), np.zeros(1, int), bins=0)


@given(logits, st.integers(1, 20), st.randoms(use_true_random=False))
def test_the_error_is_the_weighted_gap_of_the_reliability_table(values, bins, random):
    probabilities = softmax(values)
    labels = np.array([random.randrange(values.shape[1]) for _ in values])
    correct = probabilities.argmax(axis=1) == labels
    table = reliability_table(probabilities.max(axis=1), correct, bins)
    assert len(table) == bins
    assert table["images"].sum() == len(labels)
    filled = table[table["images"] > 0]
    assert ((filled["confidence"] > filled["low"] - 1e-9) & (filled["low"] >= 0)).all()
    assert (filled["confidence"] <= filled["high"] + 1e-9).all()
    assert filled["accuracy"].between(filled["accuracy_low"], filled["accuracy_high"]).all()
    assert table.loc[table["images"] == 0, ["confidence", "accuracy"]].isna().all().all()
    gap = (filled["accuracy"] - filled["confidence"]).abs() * filled["images"] / len(labels)
    error = expected_calibration_error(probabilities, labels, bins)
    assert gap.sum() == pytest.approx(error, abs=1e-12)


def test_a_reliability_table_by_hand():
    confidence, correct = np.array([0.9, 0.95, 0.6]), np.array([True, False, True])
    table = reliability_table(confidence, correct, bins=2)
    assert table[["low", "high", "images"]].to_numpy().tolist() == [[0, 0.5, 0], [0.5, 1, 3]]
    assert table.loc[1, ["confidence", "accuracy"]].tolist() == pytest.approx([2.45 / 3, 2 / 3])


def test_a_reliability_table_of_nothing_is_refused():
    with pytest.raises(ValueError, match=r"N >= 1 images.*\(0,\)"):
        reliability_table(np.array([]), np.array([], dtype=bool))
    with pytest.raises(ValueError, match=r"\(2,\) and \(3,\)"):
        reliability_table(np.ones(2), np.ones(3, dtype=bool))
    with pytest.raises(ValueError, match="at least 1 bin"):
        reliability_table(np.ones(2), np.ones(2, dtype=bool), bins=0)
