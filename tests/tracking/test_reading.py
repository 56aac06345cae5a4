"""Runs as they are read back from MLflow: as today's hook writes them, and as older ones did."""

import shutil
from pathlib import Path

import mlflow
import pytest
from kedro.io import DataCatalog, DatasetError

from model_compression.reporting import RUN_COLUMNS
from model_compression.tracking import reading
from model_compression.tracking.reading import TrackedExperiments

STARTED = 1_764_000_000_000


@pytest.fixture(scope="module")
def store(empty_store, tmp_path_factory) -> str:
    """An MLflow store with a tracked run, an older one, trials, and runs that did not finish."""
    folder = tmp_path_factory.mktemp("store")
    uri = f"sqlite:///{shutil.copy(empty_store, folder / 'mlflow.db')}"
    client = mlflow.MlflowClient(uri)
    experiment = client.create_experiment("mine", artifact_location=str(folder))
    client.create_experiment("empty", artifact_location=str(folder))

    def run(name, parent=None, status="FINISHED", tags=(), params=(), **metrics) -> str:
        nested = {"mlflow.parentRunId": parent} if parent else {}
        run_id = client.create_run(
            experiment, STARTED, {"mlflow.runName": name, **nested, **dict(tags)}
        ).info.run_id
        for key, value in metrics.items():
            client.log_metric(run_id, key.replace("__", "."), value)
        for key, value in dict(params).items():
            client.log_param(run_id, key, value)
        if status != "RUNNING":
            client.set_terminated(run_id, status)
        return run_id

    tracked = run(
        "compress [study] a.b=1",
        tags={
            "pipeline": "compress",
            "environment": "study",
            "overrides": "a.b=1",
            "host_cpu": "Xeon",
            "mlflow.source.git.commit": "abc",
            "data.test_images": "0123456789abcdef",
        },
        params={"reporting.threads": "1"},
    )
    run(
        "student",
        tracked,
        tags={"stage": "student"},
        accuracy=0.9,
        accuracy_low=0.89,
        file_bytes=1000,
        macs=5000,
        latency_ms_batch1=0.25,
        train_loss=0.1,
    )
    run("data", tracked, tags={"stage": "data"}, train_loss=0.1)
    run("cut", tracked, "KILLED", accuracy=0.7)
    older = run(
        "compress",
        tags={"pipeline_names": "['teacher', 'pruning']", "env": "smoke"},
        pruned__latency_ms_batch1=0.5,
        pruned__accuracy=0.1,
    )
    run("pruned", older, tags={"stage": "pruned"}, accuracy=0.8, images=300, file_bytes=700)
    benchmark = run("distillation_benchmark")
    run("kd-seed1", benchmark, tags={"stage": "kd", "seed": "1"}, test_accuracy=0.6, file_bytes=9)
    run("reporting", quantized__accuracy=0.7, quantized__macs=50, teacher__ece=0.1)
    failed = run("compress", status="FAILED", teacher__accuracy=0.99)
    run("student", failed, tags={"stage": "student"}, accuracy=0.99)
    going_on = run("compress", status="RUNNING")
    run("student", going_on, tags={"stage": "student"}, accuracy=0.98)
    return uri


@pytest.fixture
def rows(store) -> dict[str, dict]:
    return {row["stage"]: row for row in TrackedExperiments(store)["mine"]}


def test_every_judged_stage_of_a_finished_run_is_read_and_nothing_else(rows):
    assert sorted(rows) == ["kd-seed1", "pruned", "quantized", "student"]
    assert rows["student"]["accuracy"] == 0.9
    assert all(set(row) == set(RUN_COLUMNS) for row in rows.values())


def test_a_run_tells_what_it_was_a_trial_of(rows):
    student = rows["student"]
    told = {
        "run": "compress [study] a.b=1",
        "experiment": "mine",
        "pipeline": "compress",
        "environment": "study",
        "overrides": "a.b=1",
        "commit": "abc",
        "cpu": "Xeon",
        "threads": "1",
        "kind": "stage",
        "test_images": "images 01234567",
        "started": "2025-11-24T16:00:00+00:00",
    }
    assert {key: student[key] for key in told} == told
    measured = ("accuracy", "accuracy_low", "file_bytes", "macs", "latency_ms_batch1")
    assert [student[key] for key in measured] == [0.9, 0.89, 1000, 5000, 0.25]
    assert student["packed_bytes"] is None


def test_a_run_that_lacks_tags_is_read_with_what_it_has(rows):
    pruned = rows["pruned"]
    assert (pruned["pipeline"], pruned["environment"]) == ("teacher, pruning", "smoke")
    assert [pruned[key] for key in ("overrides", "commit", "cpu", "threads", "model")] == [None] * 5
    assert pruned["test_images"] == "300 images"
    # Its latency is told by the whole run alone; its accuracy first by itself.
    assert (pruned["latency_ms_batch1"], pruned["accuracy"]) == (0.5, 0.8)


def test_a_trial_is_read_by_the_name_of_its_run(rows):
    trial = rows["kd-seed1"]
    assert (trial["kind"], trial["accuracy"], trial["file_bytes"]) == ("trial", 0.6, 9)
    assert trial["run"] == "distillation_benchmark"


def test_a_run_that_only_compares_is_read_by_its_comparison(rows):
    quantized = rows["quantized"]
    assert (quantized["run"], quantized["kind"]) == ("reporting", "stage")
    assert (quantized["accuracy"], quantized["macs"], quantized["model"]) == (0.7, 50, None)


def test_more_runs_than_fit_on_a_page_are_read_page_by_page(store, rows, monkeypatch):
    monkeypatch.setattr(reading, "PAGE", 2)
    assert len(TrackedExperiments(store)["mine"]) == len(rows)


def test_the_catalog_gives_experiments_by_name_and_refuses_to_write_any(store):
    entry = {
        "type": "model_compression.tracking.reading.TrackedExperimentsDataset",
        "tracking_uri": store,
    }
    catalog = DataCatalog.from_config({"tracked_experiments": entry})
    experiments = catalog.load("tracked_experiments")
    assert list(experiments) == ["Default", "empty", "mine"]
    assert len(experiments) == 3
    assert experiments["empty"] == []
    assert "yours" not in experiments
    with pytest.raises(DatasetError, match="only read through the catalog"):
        catalog.save("tracked_experiments", 1)


def test_a_deleted_experiment_is_not_there(store, tmp_path):
    client = mlflow.MlflowClient(store)
    client.delete_experiment(client.create_experiment("gone", artifact_location=str(tmp_path)))
    assert "gone" not in TrackedExperiments(store)


def test_a_server_that_does_not_answer_is_named(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(
        ConnectionError, match=r"MLflow at http://127.0.0.1:9 doesn't answer.*start"
    ):
        TrackedExperiments("http://127.0.0.1:9")["mine"]


def test_the_model_of_a_stage_is_named(store, tmp_path: Path):
    client = mlflow.MlflowClient(store)
    experiment = client.create_experiment("models", artifact_location=str(tmp_path))
    whole = client.create_run(experiment).info.run_id
    stage = client.create_run(experiment, tags={"mlflow.parentRunId": whole}).info.run_id
    client.log_metric(stage, "accuracy", 0.5)
    model = client.create_logged_model(experiment, name="student", source_run_id=stage)
    output = mlflow.entities.LoggedModelOutput(model.model_id, 0)
    client.log_outputs(stage, [output])
    for run_id in (stage, whole):
        client.set_terminated(run_id)
    (row,) = TrackedExperiments(store)["models"]
    assert row["model"] == f"models:/{model.model_id}"
