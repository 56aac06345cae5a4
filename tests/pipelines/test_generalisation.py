"""What one file is asked about beyond the test images, and what the stages' answers amount to."""

import json
import logging
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from model_compression.deployment import OnnxRuntimeClassifier, export_onnx
from model_compression.images import Normalization
from model_compression.models import ModelSettings, build_model
from model_compression.pipelines.generalisation import comparison, nodes
from model_compression.pipelines.generalisation.parameters import GeneralisationParameters

FEW = GeneralisationParameters(corrupted_images=6, training_images=9)


@pytest.fixture(scope="module")
def file():
    network = build_model(ModelSettings(name="resnet8", options={"width": 2}).spec((1, 12, 12), 3))
    return export_onnx(
        network.eval(),
        input_shape=(1, 12, 12),
        normalization=Normalization(mean=(0.4,), std=(0.25,)),
        classes=("top", "middle", "bottom"),
        stage="student",
        fingerprint="0123",
        architecture="resnet8",
    )


@pytest.fixture
def asked(file, tiny_images):
    logits = OnnxRuntimeClassifier(file).logits(tiny_images.images)
    predictions = pd.DataFrame({"label": tiny_images.labels, "predicted": logits.argmax(1)})
    return SimpleNamespace(
        model=file,
        test_images=tiny_images,
        train_images=tiny_images,
        predictions=predictions,
        parameters=FEW,
        known=None,
    )


def measure(asked, **changes):
    return nodes.measure_generalisation(**(vars(asked) | changes))


def test_everything_is_measured_on_the_file(asked):
    corruptions, measured = measure(asked)
    assert len(corruptions) == 76
    assert (corruptions["images"] == 6).all()
    assert measured["corrupted_images"] == 6
    assert measured["training_images"] == 9
    assert len(measured["corruption_accuracy"]) == 15
    mean = corruptions.loc[corruptions["severity"] > 0, "accuracy"].mean()
    assert measured["mean_corruption_accuracy"] == pytest.approx(mean)
    assert json.loads(json.dumps(measured, allow_nan=False)) == measured


def test_the_gap_is_that_of_training_and_test_images(asked):
    every = GeneralisationParameters(corrupted_images=3, training_images=None)
    _, same = measure(asked, parameters=every)
    right = (asked.predictions["label"] == asked.predictions["predicted"]).mean()
    assert same["training_images_accuracy"] == pytest.approx(right)
    assert same["train_test_gap"] == 0
    assert same["train_test_gap_low"] < 0 < same["train_test_gap_high"]
    wrong = asked.predictions.assign(predicted=(asked.predictions["label"] + 1) % 3)
    _, apart = measure(asked, parameters=every, predictions=wrong)
    assert apart["train_test_gap"] == pytest.approx(right)


def test_what_is_known_of_the_same_file_is_not_measured_again(asked, monkeypatch, caplog):
    corruptions, measured = measure(asked)
    known = json.loads(json.dumps(measured))
    monkeypatch.setattr(nodes, "OnnxRuntimeClassifier", None)
    with caplog.at_level(logging.INFO):
        again, reused = measure(asked, known=known)
    pd.testing.assert_frame_equal(again, corruptions)
    assert reused == measured
    assert "student: its file has not changed" in caplog.text


@pytest.mark.parametrize("change", ["seed", "images", "file"])
def test_what_is_known_of_something_else_is_measured_again(asked, change):
    _, known = measure(asked)
    known |= {"mean_corruption_accuracy": "stale"}
    changes = {
        "seed": {"parameters": FEW.model_copy(update={"seed": 1})},
        "images": {"train_images": asked.train_images.subset(range(30))},
        "file": {"model": type(asked.model)(with_other_weights(asked.model))},
    }[change]
    _, measured = measure(asked, known=known, **changes)
    assert measured["fingerprint"] != known["fingerprint"]
    assert measured["mean_corruption_accuracy"] != "stale"


def with_other_weights(model) -> bytes:
    import onnx

    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    proto.doc_string = "changed"
    return proto.SerializeToString()


def test_too_few_images_for_the_classes_are_refused(asked):
    with pytest.raises(ValueError, match="2 images cannot hold one of each of 3 classes"):
        measure(asked, parameters=GeneralisationParameters(corrupted_images=2))
    with pytest.raises(ValidationError, match="corrupted_images"):
        GeneralisationParameters(corrupted_images=0)


def answers(predicted: list[int], confidence: float = 0.9) -> pd.DataFrame:
    count = len(predicted)
    return pd.DataFrame(
        {
            "index": range(count),
            "label": [0, 1] * (count // 2),
            "predicted": predicted,
            "confidence": confidence,
        }
    )


def test_stages_are_compared_with_the_first(asked):
    corruptions, measured = measure(asked)
    worse = corruptions.assign(accuracy=corruptions["accuracy"] - 0.1)
    table = comparison.compare_generalisation(
        {"teacher": measured, "student": measured},
        {"teacher": corruptions, "student": worse},
        {"teacher": answers([0, 1, 0, 1]), "student": answers([0, 1, 1, 0])},
        {"teacher": {"fingerprint": "0123"}, "student": {"fingerprint": "0123"}},
    ).set_index("stage")
    assert table.loc["teacher", ["mce", "disagreement"]].tolist() == [1, 0]
    assert table.loc["student", "mce"] > 1
    assert table.loc["student", "disagreement"] == 0.5


def test_a_measurement_of_another_file_is_not_compared(asked):
    corruptions, measured = measure(asked)
    with pytest.raises(ValueError, match=r"teacher: generalisation\.json is of another file"):
        comparison.compare_generalisation(
            {"teacher": measured},
            {"teacher": corruptions},
            {"teacher": answers([0, 1])},
            {"teacher": {"fingerprint": "4567"}},
        )


def test_every_other_stage_is_compared_class_by_class():
    confusion = pd.DataFrame(np.eye(2), index=["a", "b"], columns=["a", "b"])
    predictions = {
        "teacher": answers([0, 1, 0, 1]),
        "student": answers([0, 1, 0, 0]),
        "pruned": answers([1, 1, 1, 1]),
    }
    table = comparison.compare_classes(predictions, dict.fromkeys(predictions, confusion))
    assert table[["stage", "class", "change"]].to_numpy().tolist() == [
        ["student", "a", 0.0],
        ["student", "b", -0.5],
        ["pruned", "a", -1.0],
        ["pruned", "b", 0.0],
    ]


def test_disagreements_are_those_of_the_teacher_and_the_recommended_file():
    predictions = {
        "teacher": answers([0, 1, 0, 1]),
        "pruned": answers([1, 1, 1, 1]),
        "quantized": answers([0, 1, 0, 0]),
    }
    for stage, expected in {"pruned": [0, 2], "quantized": [3], "teacher": []}.items():
        found = comparison.find_disagreements(predictions, {"stage": stage})
        assert found["index"].tolist() == expected
