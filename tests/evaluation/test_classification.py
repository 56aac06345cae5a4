import numpy as np
import pytest

from model_compression.evaluation import classification_tables


def test_a_hand_computed_table():
    report, confusion = classification_tables(
        np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]), ("cat", "dog")
    )
    rows = report.set_index("class")
    assert list(rows.loc["cat"]) == pytest.approx([1.0, 2 / 3, 0.8, 3])
    assert list(rows.loc["dog"]) == pytest.approx([0.5, 1.0, 2 / 3, 1])
    assert rows.loc["macro average", "f1"] == pytest.approx((0.8 + 2 / 3) / 2)
    assert rows.loc["weighted average", "recall"] == pytest.approx(0.75)
    assert confusion.loc["cat", "dog"] == 1
    assert confusion.to_numpy().tolist() == [[2, 1], [0, 1]]


def test_a_class_without_images_keeps_its_row_and_column():
    report, confusion = classification_tables(np.array([0]), np.array([0]), ("a", "b", "accuracy"))
    assert list(report["class"][:3]) == ["a", "b", "accuracy"]
    assert report["f1"][1] == 0
    assert report["images"].tolist() == [1, 0, 0, 1, 1]
    assert confusion.shape == (3, 3)


def test_classes_of_the_same_name_keep_a_row_each():
    report, _ = classification_tables(np.array([0, 1]), np.array([0, 0]), ("x", "x"))
    assert report["recall"].tolist()[:2] == [1.0, 0.0]


@pytest.mark.parametrize(
    ("labels", "predicted", "message"),
    [
        ([0, 1], [0], r"\(2,\) and \(1,\)"),
        ([], [], "N >= 1"),
        ([0, 2], [0, 1], "labels from 0 to 1"),
        ([0, 1], [0, -1], "predictions from 0 to 1"),
    ],
)
def test_indices_without_a_class_are_refused(labels, predicted, message):
    with pytest.raises(ValueError, match=message):
        classification_tables(np.array(labels, int), np.array(predicted, int), ("a", "b"))
