import numpy as np
import pandas as pd
import pytest

from model_compression.evaluation import (
    CORRUPTIONS,
    accuracy_by_corruption,
    accuracy_under_corruptions,
    corrupt,
    mean_corruption_accuracy,
    mean_corruption_error,
)
from model_compression.images import ImageSet


def table_of(accuracies: dict[str, list[float]], images: int = 10) -> pd.DataFrame:
    rows = [("none", "none", 0, images, 0.95)]
    for name, values in accuracies.items():
        rows += [(name, "noise", level + 1, images, value) for level, value in enumerate(values)]
    return pd.DataFrame(rows, columns=["corruption", "family", "severity", "images", "accuracy"])


def brighter_half(images: np.ndarray) -> np.ndarray:
    """Logits of the three thirds of an image by their brightness: right on the tiny images."""
    return np.stack([part.mean((1, 2, 3)) for part in np.split(images.astype(float), 3, 2)], 1)


def test_every_corruption_is_asked_about_at_every_severity(tiny_images: ImageSet):
    positions = np.arange(0, 96, 5)
    table = accuracy_under_corruptions(brighter_half, tiny_images, positions, seed=0)
    assert len(table) == 1 + 15 * 5
    assert (table["images"] == len(positions)).all()
    assert table.loc[0, ["corruption", "severity", "accuracy"]].tolist() == ["none", 0, 1.0]
    assert list(accuracy_by_corruption(table).index) == list(CORRUPTIONS)


def test_accuracies_are_those_of_the_corrupted_images(tiny_images: ImageSet):
    import torch

    positions = np.array([3, 50, 7])
    table = accuracy_under_corruptions(brighter_half, tiny_images, positions, seed=4)
    for row in table[table["severity"] == 5].itertuples():
        clean = torch.from_numpy(tiny_images.images[positions])
        shown = corrupt(clean, torch.from_numpy(positions), row.corruption, 5, seed=4).numpy()
        right = brighter_half(shown).argmax(1) == tiny_images.labels[positions]
        assert row.accuracy == right.mean()


def test_batches_do_not_change_the_result(tiny_images: ImageSet, monkeypatch):
    positions = np.arange(7)
    whole = accuracy_under_corruptions(brighter_half, tiny_images, positions, seed=0)
    module = "model_compression.evaluation.robustness._MOST_IMAGES"
    monkeypatch.setattr(module, 3)
    parts = accuracy_under_corruptions(brighter_half, tiny_images, positions, seed=0)
    pd.testing.assert_frame_equal(whole, parts)


def test_means_leave_the_clean_images_out():
    table = table_of({"fog": [0.8, 0.6], "snow": [0.5, 0.1]})
    assert accuracy_by_corruption(table).to_dict() == pytest.approx({"fog": 0.7, "snow": 0.3})
    assert mean_corruption_accuracy(table) == pytest.approx(0.5)


def test_the_mean_corruption_error_weighs_easy_and_hard_corruptions_alike():
    teacher = table_of({"fog": [0.9, 0.9], "snow": [0.5, 0.5]})
    student = table_of({"fog": [0.8, 0.8], "snow": [0.5, 0.5]})
    # Twice the errors under fog, the same under snow: (0.4 / 0.2 + 1.0 / 1.0) / 2.
    assert mean_corruption_error(student, teacher) == pytest.approx(1.5)
    assert mean_corruption_error(teacher, teacher) == 1


def test_nothing_is_related_to_a_reference_without_errors():
    perfect = table_of({"fog": [1.0, 1.0]})
    assert np.isnan(mean_corruption_error(table_of({"fog": [0.9, 0.8]}), perfect))


def test_tables_of_other_images_are_not_compared():
    with pytest.raises(ValueError, match=r"3 rows of 10 images and 3 rows of 20"):
        mean_corruption_error(table_of({"fog": [0, 0]}), table_of({"fog": [0, 0]}, images=20))
