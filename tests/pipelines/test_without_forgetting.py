"""New classes for a trained network: what the flow leaves behind, on a few hundred images."""

import json
import logging
from pathlib import Path

import mlflow
import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch
from kedro.framework.project import pipelines
from kedro.validation.exceptions import ParameterValidationError

from model_compression.images import ImageSet, read_image_set
from model_compression.models import CheckpointError, read_checkpoint
from model_compression.pipelines.without_forgetting.nodes import split_classes, train_kept
from model_compression.pipelines.without_forgetting.parameters import WithoutForgettingParameters

PIPELINE = "without_forgetting"
STAGES = ("old", "kept", "forgotten")
OLD, ALL = 8, 10
COLUMNS = [
    "stage",
    "old_classes",
    "new_classes",
    "all_classes",
    "old_among_old",
    "new_among_new",
]


def images(project: Path, name: str) -> ImageSet:
    return read_image_set(project / "data" / "smoke" / "05_model_input" / name)


def checkpoint(project: Path, stage: str):
    return read_checkpoint(project / "data" / "smoke" / "06_models" / stage / "model.safetensors")


def comparison(project: Path) -> pd.DataFrame:
    path = project / "data" / "smoke" / "08_reporting" / PIPELINE / "comparison.csv"
    return pd.read_csv(path).set_index("stage", drop=False)


def test_old_classes_come_first_and_no_image_is_lost_or_seen_twice(learned):
    whole = images(learned, "train")
    old, new = images(learned, "old_train"), images(learned, "new_train")
    assert old.classes == whole.classes[:OLD]
    assert new.classes == whole.classes
    assert set(old.labels) == set(range(OLD))
    assert set(new.labels) == {8, 9}
    assert len(old) + len(new) == len(whole)
    np.testing.assert_array_equal(new.images[:], whole.images[np.flatnonzero(whole.labels >= OLD)])


def test_every_stage_leaves_a_file_that_knows_its_classes(learned):
    for stage, count in (("old", OLD), ("kept", ALL), ("forgotten", ALL)):
        assert len(checkpoint(learned, stage).classes) == count
        path = learned / "data" / "smoke" / "06_models" / stage / "model.onnx"
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        classes = json.loads(session.get_modelmeta().custom_metadata_map["classes"])
        assert tuple(classes) == images(learned, "old_and_new_test").classes[:count]
        folder = learned / "data" / "smoke" / "08_reporting" / stage
        assert json.loads((folder / "evaluation.json").read_text())["top1_agreement"] >= 0.999


@pytest.mark.parametrize("stage", STAGES)
def test_the_comparison_is_what_the_files_say_of_the_test_images(learned, stage):
    table = comparison(learned)
    assert list(table.columns) == COLUMNS
    assert list(table["stage"]) == list(STAGES)
    test = images(learned, "old_and_new_test")
    path = learned / "data" / "smoke" / "06_models" / stage / "model.onnx"
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"images": np.asarray(test.images[:])})
    is_old, row = test.labels < OLD, table.loc[stage]
    right = logits.argmax(1) == test.labels
    assert row["old_classes"] == pytest.approx(right[is_old].mean())
    among_old = logits[is_old, :OLD].argmax(1) == test.labels[is_old]
    assert row["old_among_old"] == pytest.approx(among_old.mean())
    if stage == "old":
        assert row[["new_classes", "all_classes", "new_among_new"]].isna().all()
    else:
        assert row["new_classes"] == pytest.approx(right[~is_old].mean())
        assert row["all_classes"] == pytest.approx(right.mean())
        among_new = logits[~is_old, OLD:].argmax(1) == test.labels[~is_old] - OLD
        assert row["new_among_new"] == pytest.approx(among_new.mean())


def test_kept_and_forgotten_are_other_networks_than_the_old_one(learned):
    heads = {stage: checkpoint(learned, stage).weights["classifier.weight"] for stage in STAGES}
    assert heads["kept"].shape[0] == heads["forgotten"].shape[0] == ALL
    assert not torch.equal(heads["kept"], heads["forgotten"])
    # One short epoch away from the old rows.
    assert (heads["kept"][:OLD] - heads["old"]).abs().max() < heads["old"].abs().max()


def test_mlflow_has_a_run_a_stage_and_the_comparison(learned):
    store = mlflow.MlflowClient(f"sqlite:///{learned / 'mlflow.db'}")
    experiment = store.get_experiment_by_name("model_compression_smoke")
    runs = store.search_runs([experiment.experiment_id], order_by=["start_time DESC"])
    assert {run.data.tags.get("stage") for run in runs} >= set(STAGES)
    parent = next(run for run in runs if "kept.old_classes" in run.data.metrics)
    table = comparison(learned)
    for stage in STAGES:
        logged = parent.data.metrics[f"{stage}.old_among_old"]
        assert logged == pytest.approx(table.loc[stage, "old_among_old"])
    assert "old.new_classes" not in parent.data.metrics
    assert parent.data.params["without_forgetting.fine_tuning.distillation.method"] == "lwf"


def test_another_weight_leaves_the_old_network_and_the_control_alone(learned, run, caplog):
    fine_tuning = {"distillation": {"weight": 2.0}}
    with caplog.at_level(logging.INFO):
        run(learned, PIPELINE, without_forgetting={"fine_tuning": fine_tuning})
    assert "old: nothing has changed" in caplog.text
    assert "forgotten: nothing has changed" in caplog.text
    assert "kept: its data, parameters or source checkpoints have changed" in caplog.text


def test_it_is_no_part_of_compress():
    assert PIPELINE in pipelines
    namespaces = {node.namespace for node in pipelines["compress"].nodes}
    assert not namespaces & set(STAGES)


def settings(**changes) -> WithoutForgettingParameters:
    training = {"epochs": 1, "optimizer": {"name": "sgd", "learning_rate": 0.1}}
    values = {
        "new_classes": 1,
        "old": {"model": {"name": "resnet8", "options": {"width": 4}}, "training": training},
        "fine_tuning": {"distillation": {"method": "none"}, "training": training},
    }
    return WithoutForgettingParameters(**(values | changes))


def test_new_classes_can_be_named_and_come_last(tiny_images):
    sets = split_classes(tiny_images, tiny_images, tiny_images, settings(new_classes=["top"]))
    assert sets[0].classes == ("middle", "bottom")
    assert sets[5].classes == ("middle", "bottom", "top")
    expected = tiny_images.images[:][tiny_images.labels == 0]
    np.testing.assert_array_equal(sets[3].images[:], expected)
    assert set(sets[3].labels) == {2}


@pytest.mark.parametrize(
    ("new", "message"),
    [(2, "leaves 1 of 3 classes"), (["tip"], "no class 'tip'.*'top'"), ([3], "class number 3")],
)
def test_new_classes_that_cannot_be_are_refused(tiny_images, new, message):
    with pytest.raises(ValueError, match=message):
        split_classes(tiny_images, tiny_images, tiny_images, settings(new_classes=new))


def test_an_old_network_of_other_classes_is_refused(learned, tiny_images, tiny_normalization):
    training = train_kept(
        tiny_images,
        tiny_images,
        tiny_normalization,
        checkpoint(learned, "old"),
        None,
        settings(),
        None,
    )
    with pytest.raises(CheckpointError, match="kept: the old checkpoint was trained on other"):
        next(training)


@pytest.mark.parametrize("new", [0, -1, []])
def test_no_new_class_is_refused_before_the_first_node(make_project, run, new):
    project = make_project("refused")
    with pytest.raises(ParameterValidationError, match=r"(?s)without_forgetting.*new_classes"):
        run(project, PIPELINE, without_forgetting={"new_classes": new})
