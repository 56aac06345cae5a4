import json

import mlflow
import pytest

from model_compression.tracking.outbox import Identifiers, waiting
from model_compression.tracking.reach import is_unreachable
from model_compression.tracking.recorder import Recorder
from model_compression.tracking.sender import connect
from model_compression.tracking.tracked_run import TrackedRun


def runs_of(client):
    experiment = client.get_experiment_by_name("trials")
    found = client.search_runs([experiment.experiment_id])
    parents = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    return parents, {run.data.tags["stage"]: run for run in found if run not in parents}


def state_of(client):
    """All that there is, but for identifiers that MLflow draws."""
    parents, children = runs_of(client)
    experiment = parents[0].info.experiment_id
    runs = {
        run.info.run_name: (
            run.info.status,
            run.data.params,
            {
                key: [
                    (m.step, m.value, m.timestamp)
                    for m in client.get_metric_history(run.info.run_id, key)
                ]
                for key in run.data.metrics
            },
            [(i.dataset.name, i.dataset.digest) for i in run.inputs.dataset_inputs],
            len(run.outputs.model_outputs) if run.outputs else 0,
        )
        for run in [*parents, *children.values()]
    }
    models = [
        (model.name, sorted((m.key, m.value, m.dataset_name or "") for m in model.metrics))
        for model in client.search_logged_models([experiment])
    ]
    versions = sorted(
        (v.version, sorted(v.tags.items())) for v in client.search_model_versions("name='shipped'")
    )
    aliases = client.get_registered_model("shipped").aliases
    return len(parents), runs, sorted(models), versions, aliases


@pytest.fixture
def client(uri):
    return mlflow.MlflowClient(uri)


def test_a_run_in_mlflow_tells_stages_apart_and_shows_the_staircase(
    uri, client, header, track, images, tmp_path
):
    sender = connect(uri, header.experiment, Identifiers())
    track(Recorder(sender, tmp_path / "outbox", header, is_unreachable))
    (parent,), stages = runs_of(client)
    run_id = parent.info.run_id
    assert parent.info.run_name == "compress a=1"
    assert [(m.step, m.value) for m in client.get_metric_history(run_id, "file_bytes")] == [
        (0, 900.0),
        (1, 300.0),
    ]
    assert parent.data.metrics["student.latency_ms_batch1"] == 1.0
    assert parent.data.tags["data.test_images"] == images.fingerprint
    student = stages["student"]
    assert student.data.params["student.training.epochs"] == "2"
    assert student.data.metrics["latency_ms_batch1"] == 1.0
    assert student.data.tags["pipeline"] == "compress"
    curve = client.get_metric_history(student.info.run_id, "epoch_seconds")
    assert [metric.step for metric in curve] == [1, 2]
    # What evaluation has said already, the comparison does not say again.
    assert len(client.get_metric_history(student.info.run_id, "accuracy")) == 1
    (used,) = student.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("test_images", images.fingerprint)
    assert '"num_rows": 6' in used.dataset.profile
    logged = client.search_logged_models([parent.info.experiment_id])
    assert {model.name for model in logged} == {"teacher", "student"}
    for model in logged:
        linked = {metric.key: metric.dataset_name for metric in model.metrics}
        assert linked["accuracy"] == linked["latency_ms_batch1"] == "test_images"
        assert model.params[f"{model.name}.training.epochs"] == "2"
    versions = {v.tags["stage"]: v for v in client.search_model_versions("name='shipped'")}
    for model in logged:
        shown = json.loads(model.tags["mlflow.modelVersions"])  # what MLflow's pages link to
        assert shown == [{"name": "shipped", "version": str(versions[model.name].version)}]
    assert versions["student"].tags["file_bytes"] == "300"
    assert versions["student"].tags["latency_ms_batch1"] == "1"
    aliases = client.get_registered_model("shipped").aliases
    best = {
        alias: versions[stage].version
        for alias, stage in {
            "most-accurate": "teacher",
            "recommended": "teacher",
            "smallest": "student",
            "fastest": "student",
        }.items()
    }
    assert aliases == best


def test_sent_later_and_sent_twice_it_is_there_once(uri, client, header, track, tmp_path):
    outbox = tmp_path / "outbox"
    track(Recorder(None, outbox, header, is_unreachable))
    (journal,) = waiting(outbox)
    entries = journal.entries()
    sender = connect(uri, header.experiment, Identifiers())
    for entry in entries:
        sender.say(entry, again=True)
    once = state_of(client)
    # As after a crash before the progress was written down: all is said again, by one who knows
    # of nothing that is there.
    journal.send(lambda header, known: connect(uri, header.experiment, known))
    assert state_of(client) == once
    assert once[0] == 1
    assert not list(waiting(outbox))


def test_the_same_file_is_one_version_with_newer_figures(
    uri, client, header, models, images, tmp_path
):
    for latency in (5.0, 7.0):
        sender = connect(uri, header.experiment, Identifiers())
        run = TrackedRun(
            Recorder(sender, tmp_path / "outbox", header, is_unreachable), {"host_cpu": "this"}
        )
        run.begin("reporting")
        run.log_input(None, "test_images", images, "data/test", "test")
        for model, path in models.values():
            run.log_model(None, model, path, "shipped")
        row = {"accuracy": 0.9, "latency_ms_batch1": latency, "runtime": "onnxruntime 1"}
        rows = {"teacher": row, "student": row | {"latency_ms_batch1": 1.0}}
        run.log_comparison(rows, run.images_among(["test_images"]), [])
        run.end("FINISHED")
    versions = client.search_model_versions("name='shipped'")
    assert {v.tags["stage"]: v.tags["latency_ms_batch1"] for v in versions} == {
        "teacher": "7",
        "student": "1",
    }
    assert len(versions) == 2


def test_aliases_stay_when_a_run_fails(uri, client, header, models, images, tmp_path):
    sender = connect(uri, header.experiment, Identifiers())
    run = TrackedRun(
        Recorder(sender, tmp_path / "outbox", header, is_unreachable), {"host_cpu": "this"}
    )
    run.begin("compress")
    run.log_input(None, "test_images", images, "data/test", "test")
    model, path = models["teacher"]
    run.log_model(None, model, path, "shipped")
    run.log_figures("teacher", {"accuracy": 0.9}, run.images_among(["test_images"]))
    run.log_figures("teacher", {"accuracy": 0.1})  # on corrupted images, say
    run.recommend("teacher")
    run.end("FAILED")
    assert client.get_registered_model("shipped").aliases == {}
    (version,) = client.search_model_versions("name='shipped'")
    assert version.tags["accuracy"] == "0.9"
    assert runs_of(client)[0][0].info.status == "FAILED"
