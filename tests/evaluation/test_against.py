import numpy as np
import pandas as pd
import pytest

from model_compression.evaluation import class_changes, disagreements, mcnemar_test
from model_compression.evaluation.against import holm


def answers(labels: list[int], predicted: list[int], confidence: list[float] | None = None):
    return pd.DataFrame(
        {
            "index": range(len(labels)),
            "label": labels,
            "predicted": predicted,
            "confidence": confidence or [0.5] * len(labels),
        }
    )


def test_changes_are_counted_class_by_class():
    labels = [0] * 4 + [1] * 2
    teacher = answers(labels, [0, 0, 0, 1, 1, 1])
    student = answers(labels, [0, 1, 1, 0, 1, 1])
    table = class_changes(teacher, student, ["cat", "dog", "never seen"]).set_index("class")
    assert list(table.index) == ["cat", "dog"]
    cat = table.loc["cat"]
    assert cat[["images", "reference_accuracy", "accuracy"]].tolist() == [4, 0.75, 0.5]
    assert cat[["change", "only_reference", "only_stage"]].tolist() == [-0.25, 2, 1]
    assert table.loc["dog", ["change", "p_value"]].tolist() == [0, 1]


def test_p_values_are_corrected_for_the_number_of_classes():
    labels = [0] * 20 + [1] * 20
    right, wrong = [0] * 20, [1] * 6 + [0] * 14
    table = class_changes(
        answers(labels, right + [1] * 20), answers(labels, wrong + [1] * 20), "ab"
    )
    alone = mcnemar_test(np.ones(20, bool), np.arange(20) >= 6).p_value
    assert table["p_value"].tolist() == pytest.approx([2 * alone, 1])


def test_holm_by_hand():
    assert holm(np.array([0.04, 0.01, 0.03, 1.0])).tolist() == pytest.approx([0.09, 0.04, 0.09, 1])
    assert holm(np.array([0.6, 0.7])).tolist() == [1, 1]
    assert len(holm(np.array([]))) == 0


def test_disagreements_stand_in_the_order_of_the_less_sure_answer():
    labels = [0, 1, 2, 0]
    teacher = answers(labels, [0, 1, 2, 0], [0.9, 0.99, 0.6, 0.9])
    shipped = answers(labels, [1, 1, 0, 2], [0.5, 0.99, 0.8, 0.7])
    table = disagreements(teacher, shipped)
    assert table["index"].tolist() == [3, 2, 0]
    assert table.iloc[0].to_dict() == {
        "index": 3, "label": 0, "reference": 0, "reference_confidence": 0.9, "stage": 2,
        "stage_confidence": 0.7,
    }  # fmt: skip
    assert disagreements(teacher, teacher).empty


@pytest.mark.parametrize("compare", [disagreements, lambda a, b: class_changes(a, b, "abc")])
def test_other_images_are_refused(compare):
    with pytest.raises(ValueError, match="same images in the same order"):
        compare(answers([0, 1], [0, 1]), answers([1, 0], [0, 1]))
