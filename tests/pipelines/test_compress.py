"""The whole flow on a few hundred images: what it leaves behind, and what it does not do twice."""

import hashlib
import html
import json
import logging
import re
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import onnxruntime
import pandas as pd
import pytest
from huggingface_hub import ModelCard
from kedro.io import DatasetError
from kedro.validation.exceptions import ParameterValidationError

from model_compression.images import read_image_set
from model_compression.models import CheckpointError
from model_compression.pipeline_registry import register_pipelines
from model_compression.pipelines.stage.nodes import select_best
from model_compression.reporting.model_card import markdown
from model_compression.training import read_training_state

STAGES = ("teacher", "student", "pruned", "quantized")
COLUMNS = [
    "stage",
    "architecture",
    "accuracy",
    "accuracy_low",
    "accuracy_high",
    "accuracy_drop",
    "macro_f1",
    "ece",
    "parameters",
    "nonzero_parameters",
    "macs",
    "file_bytes",
    "packed_bytes",
    "latency_ms_batch1",
    "latency_ms_batch64",
    "size_ratio",
    "speedup_batch1",
    "runtime",
    "training_seconds",
]


def evaluation(project: Path, stage: str) -> dict:
    path = project / "data" / "smoke" / "08_reporting" / stage / "evaluation.json"
    return json.loads(path.read_text())


def weights_digest(project: Path, stage: str) -> str:
    path = project / "data" / "smoke" / "06_models" / stage / "model.safetensors"
    return hashlib.sha256(path.read_bytes()).hexdigest()


def client(project: Path) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(f"sqlite:///{project / 'mlflow.db'}")


def runs(project: Path) -> tuple[list, dict]:
    """The runs of whole pipelines, newest first, and the stages' runs of the newest of them."""
    store = client(project)
    experiment = store.get_experiment_by_name("model_compression_smoke")
    found = store.search_runs([experiment.experiment_id], order_by=["start_time DESC"])
    parents = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    children = {
        run.data.tags["stage"]: run
        for run in found
        if run.data.tags.get("mlflow.parentRunId") == parents[0].info.run_id
    }
    return parents, children


def test_every_stage_leaves_a_checkpoint_a_file_and_its_judgement(compressed):
    data = compressed / "data" / "smoke"
    for stage in STAGES:
        for name in ("model.safetensors", "model.onnx", "training_state.safetensors"):
            assert (data / "06_models" / stage / name).stat().st_size > 0
        for name in (
            "history.json",
            "evaluation.json",
            "classification_report.csv",
            "confusion_matrix.csv",
        ):
            assert (data / "08_reporting" / stage / name).stat().st_size > 0
        assert len(pd.read_csv(data / "07_model_output" / stage / "predictions.csv")) == 300
    assert (data / "08_reporting" / "model_card.md").read_text().startswith("---\n")


def test_comparison_has_the_promised_columns_and_a_row_a_stage(compressed):
    table = pd.read_csv(compressed / "data" / "smoke" / "08_reporting" / "comparison.csv")
    assert list(table.columns) == COLUMNS
    assert list(table["stage"]) == list(STAGES)
    assert table.drop(columns="runtime").notna().all().all()
    assert table["file_bytes"].is_monotonic_decreasing


def test_report_needs_no_network(compressed):
    report = (compressed / "data" / "smoke" / "08_reporting" / "report.html").read_text()
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)=[\"']?(https?:)?//", report)


def test_report_and_card_speak_of_the_recommended_file_in_the_recommendations_words(compressed):
    folder = compressed / "data" / "smoke" / "08_reporting"
    recommended = json.loads((folder / "recommendation.json").read_text())
    advice = f"Ship the {recommended['stage']} file. {recommended['reason']}"
    report = html.unescape((folder / "report.html").read_text())
    assert f'<p class="advice">{advice}</p>' in report
    card = ModelCard.load(folder / "model_card.md")
    judged = evaluation(compressed, recommended["stage"])
    assert recommended["fingerprint"] == judged["fingerprint"]
    assert (compressed / "data" / "smoke" / recommended["path"]).exists()
    assert markdown(advice) in card.text
    assert card.data.model_name == f"{judged['architecture']} {recommended['stage']}"
    assert card.data.eval_results[0].metric_value == judged["accuracy"]
    assert judged["fingerprint"] in card.text


def test_an_evaluation_names_the_images_and_parameters_it_comes_from(compressed):
    found = [evaluation(compressed, stage)["fingerprints"] for stage in STAGES]
    for name in ("train", "validation", "test"):
        images = read_image_set(compressed / "data" / "smoke" / "05_model_input" / name)
        assert {each[f"{name}_images"] for each in found} == {images.fingerprint}
    assert len({each["parameters"] for each in found}) == len(STAGES)
    report = (compressed / "data" / "smoke" / "08_reporting" / "report.html").read_text()
    assert all(value in report for each in found for value in each.values())


@pytest.mark.parametrize("stage", STAGES)
def test_figures_are_those_of_the_file_on_disk(compressed, stage):
    path = compressed / "data" / "smoke" / "06_models" / stage / "model.onnx"
    judged = evaluation(compressed, stage)
    images = read_image_set(compressed / "data" / "smoke" / "05_model_input" / "test")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"images": np.asarray(images.images[:])})
    assert judged["accuracy"] == pytest.approx((logits.argmax(1) == images.labels).mean())
    assert judged["file_bytes"] == path.stat().st_size
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["classes"]) == list(images.classes)
    assert metadata["fingerprint"] == judged["fingerprint"]


def test_file_and_module_agree(compressed):
    for stage in STAGES:
        assert evaluation(compressed, stage)["top1_agreement"] >= 0.999


def test_every_quantizable_layer_is_fused(compressed):
    judged = evaluation(compressed, "quantized")
    assert judged["quantizable_layers"] > 0
    assert judged["fused_layers"] == judged["quantizable_layers"]


def test_pruned_network_has_fewer_channels_and_costs_less(compressed):
    student, pruned = evaluation(compressed, "student"), evaluation(compressed, "pruned")
    assert pruned["parameters"] < student["parameters"]
    assert pruned["macs"] < student["macs"]


def test_each_stage_has_a_nested_run_with_parameters_curves_and_metrics(compressed):
    parents, children = runs(compressed)
    assert parents[-1].info.status == "FINISHED"
    assert parents[-1].info.run_name == "compress [smoke]"
    sizes = client(compressed).get_metric_history(parents[-1].info.run_id, "file_bytes")
    assert [(metric.step, metric.value) for metric in sizes] == [
        (place, evaluation(compressed, stage)["file_bytes"]) for place, stage in enumerate(STAGES)
    ]
    assert set(children) == set(STAGES)
    for stage, run in children.items():
        assert run.info.status == "FINISHED"
        assert run.data.metrics["accuracy"] == pytest.approx(
            evaluation(compressed, stage)["accuracy"]
        )
        steps = [
            metric.step
            for metric in client(compressed).get_metric_history(
                run.info.run_id, "validation_accuracy"
            )
        ]
        assert steps == list(range(1, evaluation(compressed, stage)["epochs"] + 1))
    assert children["teacher"].data.params["teacher.training.optimizer.name"] == "sgd"
    assert parents[-1].data.params["pruning.training.epochs"] == "1"
    assert "quantized.size_ratio" in parents[-1].data.metrics


def test_each_stage_has_a_logged_model_with_signature_example_and_metrics(compressed):
    store = client(compressed)
    experiment = store.get_experiment_by_name("model_compression_smoke")
    models = {model.name: model for model in store.search_logged_models([experiment.experiment_id])}
    assert set(models) == set(STAGES)
    for stage, model in models.items():
        measured = {metric.key: metric.value for metric in model.metrics}
        assert measured["file_bytes"] == evaluation(compressed, stage)["file_bytes"]
        folder = Path(model.artifact_location.removeprefix("file://"))
        described = (folder / "MLmodel").read_text()
        assert "signature" in described
        assert "saved_input_example_info" in described
        sets = {metric.key: metric.dataset_name for metric in model.metrics}
        assert sets["accuracy"] == sets["latency_ms_batch1"] == "test_images"
        # Measured on corrupted images, and on two sets: of no one set alone.
        assert sets["mean_corruption_accuracy"] is sets["train_test_gap"] is None
        assert measured["latency_ms_batch1"] > 0
    images = read_image_set(compressed / "data" / "smoke" / "05_model_input" / "test")
    digests = {metric.dataset_digest for metric in model.metrics if metric.dataset_name}
    assert digests == {images.fingerprint}


def test_each_file_is_a_version_and_the_aliases_go_to_the_best(compressed):
    versions = client(compressed).search_model_versions("name='model-compression-smoke'")
    by_stage = {version.tags["stage"]: version for version in versions}
    assert set(by_stage) == set(STAGES)
    for stage, version in by_stage.items():
        judged = evaluation(compressed, stage)
        assert float(version.tags["accuracy"]) == judged["accuracy"]
        assert int(version.tags["packed_bytes"]) == judged["packed_bytes"]
        assert float(version.tags["latency_ms_batch1"]) > 0
    aliases = client(compressed).get_registered_model("model-compression-smoke").aliases
    reporting = compressed / "data" / "smoke" / "08_reporting"
    recommended = json.loads((reporting / "recommendation.json").read_text())["stage"]
    assert aliases["recommended"] == by_stage[recommended].version
    assert aliases["smallest"] == by_stage["quantized"].version
    fastest = min(versions, key=lambda version: float(version.tags["latency_ms_batch1"]))
    assert aliases["fastest"] == fastest.version


def test_each_file_is_asked_how_it_generalises(compressed):
    reporting = compressed / "data" / "smoke" / "08_reporting"
    table = pd.read_csv(reporting / "generalisation.csv").set_index("stage")
    assert list(table.index) == list(STAGES)
    assert table.notna().all().all()
    assert table.loc["teacher", "mce"] == pytest.approx(1)
    assert (table["corrupted_images"] == 40).all()
    parents, children = runs(compressed)
    assert parents[-1].data.metrics["quantized.mce"] == table.loc["quantized", "mce"]
    for stage in STAGES:
        known = json.loads((reporting / stage / "generalisation.json").read_text())
        metrics = children[stage].data.metrics
        assert metrics["mean_corruption_accuracy"] == known["mean_corruption_accuracy"]
        assert metrics["corruption_accuracy.fog"] == known["corruption_accuracy"]["fog"]
        reliability = pd.read_csv(reporting / stage / "reliability.csv")
        gaps = (reliability["accuracy"] - reliability["confidence"]).abs() * reliability["images"]
        assert gaps.sum() / 300 == pytest.approx(evaluation(compressed, stage)["ece"])


def test_the_report_draws_the_images_that_divide_teacher_and_recommended_file(compressed):
    data = compressed / "data" / "smoke"
    recommended = json.loads((data / "08_reporting" / "recommendation.json").read_text())
    said = [
        pd.read_csv(data / "07_model_output" / stage / "predictions.csv")["predicted"]
        for stage in ("teacher", recommended["stage"])
    ]
    differing = pd.read_csv(data / "08_reporting" / "disagreements.csv")
    assert len(differing) == (said[0] != said[1]).sum()
    report = (data / "08_reporting" / "report.html").read_text()
    assert 'id="generalisation"' in report
    assert report.count('<img src="data:image/png;base64,') == min(24, len(differing))
    for name in ("corruption_accuracy", "reliability", "class_changes"):
        assert (data / "08_reporting" / "figures" / f"{name}.json").stat().st_size > 0


def test_nothing_is_trained_twice(compressed, run, caplog):
    before = {stage: weights_digest(compressed, stage) for stage in STAGES}
    with caplog.at_level(logging.INFO):
        run(compressed)
    for stage in STAGES:
        assert f"{stage}: nothing has changed" in caplog.text
        assert f"{stage}: its file has not changed, nor has how it generalises" in caplog.text
        assert weights_digest(compressed, stage) == before[stage]
    assert " epochs on cpu" not in caplog.text


def test_a_pruning_parameter_leaves_teacher_and_student_alone(compressed, run, caplog):
    with caplog.at_level(logging.INFO):
        run(compressed, pruning={"pruning": {"ratio": 0.5}})
    for stage in ("teacher", "student"):
        assert f"{stage}: nothing has changed" in caplog.text
    for stage in ("pruned", "quantized"):
        assert f"{stage}: its data, parameters or source checkpoints have changed" in caplog.text


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"teacher": {"training": {"epochs": 0}}}, r"teacher.*epochs.*greater than 0"),
        ({"teacher": {"training": {"epoch": 3}}}, r"teacher.*epoch.*[Ee]xtra inputs"),
        ({"teacher": {"model": {"name": "resnet21"}}}, r"teacher.*resnet21.*resnet20"),
        ({"distillation": {"distillation": {"method": "dk"}}}, r"distillation.*'kd'"),
        ({"pruning": {"pruning": {"ratio": 1.5}}}, r"pruning.*ratio.*less than 1"),
        ({"quantization": {"quantization": {"method": "int4"}}}, r"quantization.*'qat'"),
        ({"data": {"source": {"kind": "idxx"}}}, r"data.*'idx'.*'folder'"),
        ({"prunning": {"pruning": {"ratio": 0.5}}}, r"prunning.*did you mean 'pruning'"),
        ({"teacher": {"training": {"device": "tpu"}}}, r"device.*'auto'.*'cuda'"),
    ],
)
def test_an_impossible_parameter_is_refused_before_the_first_node(
    make_project, run, parameters, message
):
    project = make_project("refused")
    with pytest.raises(ParameterValidationError, match=f"(?s){message}"):
        run(project, **parameters)
    assert not (project / "data" / "smoke").exists()


def test_pipelines_have_the_stable_names():
    pipelines = register_pipelines()
    assert set(pipelines) == {
        "data_preparation",
        "teacher",
        "distillation",
        "pruning",
        "quantization",
        "generalisation",
        "reporting",
        "distillation_benchmark",
        "pruning_sensitivity",
        "quantization_sensitivity",
        "without_forgetting",
        "ablation",
        "compare_runs",
        "compress",
        "__default__",
    }
    assert pipelines["compress"] == pipelines["__default__"]


def test_a_failed_run_ends_as_failed_in_mlflow_and_keeps_the_stages_before(make_project, run):
    project = make_project("failed")
    state = project / "data" / "smoke" / "06_models" / "student" / "training_state.safetensors"
    state.parent.mkdir(parents=True)
    state.write_bytes(b"not a training state")
    with pytest.raises(DatasetError, match=r"student.training_state\.safetensors"):
        run(project)
    parents, children = runs(project)
    assert parents[0].info.status == "FAILED"
    assert children["teacher"].info.status in {"FINISHED", "FAILED"}
    assert (project / "data" / "smoke" / "06_models" / "teacher" / "model.safetensors").exists()


def test_a_missing_source_says_which_file_is_wanted(make_project, run):
    project = make_project("missing")
    run(project, "data_preparation")
    with pytest.raises(DatasetError, match=r"teacher.model\.safetensors"):
        run(project, "distillation")


def test_a_run_that_ends_at_a_training_node_keeps_its_curve(make_project, run):
    project = make_project("partial")
    run(project, to_nodes=["teacher.train"])
    parents, children = runs(project)
    assert (parents[0].info.status, children["teacher"].info.status) == ("FINISHED", "FINISHED")
    curve = client(project).get_metric_history(children["teacher"].info.run_id, "train_loss")
    assert [metric.step for metric in curve] == [1, 2]


def test_a_source_that_was_trained_on_other_images_is_refused(make_project, run):
    project = make_project("other")
    run(project, to_nodes=["teacher.select_best"])
    run(project, "data_preparation", data={"seed": 1})
    with pytest.raises(
        CheckpointError, match=r"student: the teacher checkpoint was trained on other"
    ):
        run(project, "distillation")


def test_a_report_is_not_made_of_a_file_that_was_not_evaluated(compressed, run, tmp_path):
    data = compressed / "data" / "smoke"
    evaluation_file = data / "08_reporting" / "quantized" / "evaluation.json"
    original = evaluation_file.read_text()
    evaluation_file.write_text(json.dumps(json.loads(original) | {"fingerprint": "another"}))
    try:
        with pytest.raises(ValueError, match=r"quantized: model\.onnx is not the file"):
            run(compressed, "reporting")
    finally:
        evaluation_file.write_text(original)


@pytest.mark.parametrize(
    "changed",
    [
        {"pruning": {"pruning": {"method": "weights"}}},
        {"distillation": {"distillation": {"method": "none"}}},
        {"data": {"source": {"kind": "torchvision", "name": "MNIST"}}},
        {"teacher": {"model": {"name": "net"}}},
    ],
)
def test_another_choice_takes_no_more_than_its_name(make_project, parameters_of, changed):
    read = parameters_of(make_project("choice"), **changed)
    assert read["pruning"].pruning.method in {"channels", "weights"}


def test_an_unfinished_training_is_not_taken_for_a_result(compressed):
    path = compressed / "data" / "smoke" / "06_models" / "teacher" / "training_state.safetensors"
    state = read_training_state(path)
    assert select_best(state) is state.best
    with pytest.raises(ValueError, match="teacher: its training stopped after epoch 2"):
        select_best(replace(state, finished=False))
