"""Every subset of the steps: equal budgets, nothing trained twice, judged on the files."""

import json
import logging
from pathlib import Path

import mlflow
import pandas as pd
import plotly.io
import pytest
from kedro.validation.exceptions import ParameterValidationError
from pydantic import ValidationError

from model_compression.deployment import OnnxRuntimeClassifier, read_onnx
from model_compression.images import read_image_set
from model_compression.models import read_checkpoint
from model_compression.pipelines.ablation import nodes
from model_compression.pipelines.ablation.parameters import SUBSETS, AblationParameters, Flow
from model_compression.pipelines.distillation.parameters import DistillationParameters
from model_compression.pipelines.pruning.parameters import PruningParameters
from model_compression.pipelines.quantization.parameters import QuantizationParameters
from model_compression.training import read_training_state

from .conftest import copy_project, run_project

TRIALS = [
    "plain",
    "distillation",
    "pruning",
    "quantization",
    "distillation-pruning",
    "distillation-quantization",
    "pruning-quantization",
    "distillation-pruning-quantization",
]
TINY = {
    "data": {"train_limit": 200, "test_limit": 80, "image_size": 12, "validation_fraction": 0.2},
    "teacher": {"model": {"name": "net"}, "training": {"epochs": 2}},
    "distillation": {"model": {"name": "net"}},
}
"""Networks that are exported in a second."""


@pytest.fixture(scope="module")
def ablated(tmp_path_factory) -> Path:
    """A project in which a tiny flow has trained its student, and the ablation has run."""
    project = copy_project(tmp_path_factory.mktemp("ablated") / "project")
    run_project(project, to_nodes=["teacher.select_best", "student.select_best"], **TINY)
    run_project(project, "ablation", **TINY)
    return project


def table(project: Path) -> pd.DataFrame:
    folder = project / "data/smoke/08_reporting/ablation"
    return pd.read_csv(folder / "comparison.csv").set_index("trial", drop=False)


def record(project: Path, trial: str) -> dict:
    folder = project / "data/smoke/08_reporting/ablation/trials"
    return json.loads((folder / f"{trial}-seed0.json").read_text())


def states(project: Path) -> Path:
    return project / "data/smoke/06_models/ablation/training_states"


def test_every_subset_is_trained_for_the_same_number_of_epochs(ablated):
    made = table(ablated)
    assert list(made["trial"]) == TRIALS
    assert made.loc["plain", "epochs"] == "student 4"
    assert made.loc["pruning", "epochs"] == "student 3 + pruned 1"
    assert made.loc["distillation-pruning-quantization", "epochs"] == (
        "student 2 + pruned 1 + quantized 1"
    )
    for trial in TRIALS:
        kept = record(ablated, trial)
        assert sum(kept["epochs"].values()) == 4
        assert [row["epoch"] for row in kept["history"]] == [1, 2, 3, 4]
        assert kept["method"] == ("kd" if "distillation" in trial else "none")
        methods = {
            value for name, value in kept["parameters"].items() if "distillation.method" in name
        }
        assert methods == {kept["method"]}


def test_a_trial_is_judged_on_its_file_like_a_stage(ablated):
    made = table(ablated)
    test = read_image_set(ablated / "data/smoke/05_model_input/test")
    for trial in TRIALS:
        path = ablated / f"data/smoke/06_models/ablation/onnx/{trial}-seed0.onnx"
        model = read_onnx(path)
        accuracy = (
            OnnxRuntimeClassifier(model).logits(test.images).argmax(1) == test.labels
        ).mean()
        row = made.loc[trial]
        assert row["accuracy"] == pytest.approx(accuracy)
        assert row["accuracy_low"] < row["accuracy"] < row["accuracy_high"]
        assert row["file_bytes"] == path.stat().st_size > row["packed_bytes"]
        assert row["stage"] == model.stage == f"{trial}-seed0"
        assert row["latency_ms_batch64"] > row["latency_ms_batch1"] > 0
    assert made.loc["pruning", "macs"] < made.loc["plain", "macs"]
    assert made.loc["quantization", "file_bytes"] < 0.5 * made.loc["plain", "file_bytes"]


def test_latencies_are_measured_by_turns_over_all_trials(ablated):
    latency = pd.read_csv(ablated / "data/smoke/07_model_output/ablation/latency.csv")
    first = latency[(latency["batch_size"] == 1) & (latency["repeat"] == 0)]
    assert list(first["stage"]) == [f"{trial}-seed0" for trial in TRIALS]
    assert list(first.index) == list(range(8))


def test_trials_share_what_is_the_same_and_the_flows_own_training_is_taken(ablated):
    # With as many epochs of pruning as of quantization, both leave their student the same.
    assert sorted(path.stem.removesuffix("-seed0") for path in states(ablated).iterdir()) == [
        "distilled2",
        "distilled2-pruned1",
        "distilled2-pruned1-quantized1",
        "distilled3",
        "distilled3-pruned1",
        "distilled3-quantized1",
        "distilled4",
        "plain2",
        "plain2-pruned1",
        "plain2-pruned1-quantized1",
        "plain3",
        "plain3-pruned1",
        "plain3-quantized1",
        "plain4",
    ]
    flows = read_checkpoint(ablated / "data/smoke/06_models/student/model.safetensors")
    taken = read_training_state(states(ablated) / "distilled2-seed0.safetensors")
    assert taken.fingerprint == flows.fingerprint
    assert taken.best.weights_digest() == flows.weights_digest()
    # The very same history, seconds included: it was not trained again.
    path = ablated / "data/smoke/08_reporting/student/history.json"
    history = json.loads(path.read_text())
    assert taken.history == history
    # A finished state is no larger than its network.
    assert taken.weights == {}


def test_effects_and_figure_tell_what_the_table_does(ablated):
    made = table(ablated)
    effects = pd.read_csv(ablated / "data/smoke/08_reporting/ablation/effects.csv")
    effects = effects.set_index(["step", "effect"])
    assert effects.loc[("quantization", "alone"), "file_bytes"] == pytest.approx(
        made.loc["plain", "file_bytes"] / made.loc["quantization", "file_bytes"]
    )
    assert effects.loc[("distillation", "last"), "accuracy"] == pytest.approx(
        made.loc["distillation-pruning-quantization", "accuracy"]
        - made.loc["pruning-quantization", "accuracy"]
    )
    figure = plotly.io.from_json(
        (ablated / "data/smoke/08_reporting/figures/ablation.json").read_text()
    )
    points = next(trace for trace in figure.data if trace.name == "trials")
    assert list(points.x) == list(made["file_bytes"])


def test_each_trial_is_a_nested_run_that_says_which_steps_it_had(ablated):
    client = mlflow.MlflowClient(f"sqlite:///{ablated / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("model_compression_smoke")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    made = table(ablated)
    for trial in TRIALS:
        run = runs[f"{trial}-seed0"]
        assert run.info.status == "FINISHED"
        assert run.data.tags["steps"] == ("none" if trial == "plain" else trial.replace("-", " + "))
        assert run.data.tags["seed"] == "0"
        assert run.data.params["student.training.epochs"] == made.loc[trial, "epochs"][8]
        assert run.data.metrics["accuracy"] == pytest.approx(made.loc[trial, "accuracy"])
        assert run.data.metrics["macs"] == made.loc[trial, "macs"]
        parent = client.get_run(run.data.tags["mlflow.parentRunId"])
        assert parent.data.metrics[f"{trial}-seed0.latency_ms_batch1"] > 0


def test_nothing_is_trained_or_judged_twice(ablated, caplog, monkeypatch):
    before = {path: path.read_bytes() for path in states(ablated).iterdir()}
    judged = []
    monkeypatch.setattr(nodes, "_judge", lambda subset, run, *others: judged.append(run.key))
    with caplog.at_level(logging.INFO):
        run_project(ablated, "ablation", **TINY)
    assert " epochs on " not in caplog.text
    assert judged == []
    assert caplog.text.count("so the stored result is reused") == 8
    assert {path: path.read_bytes() for path in states(ablated).iterdir()} == before


def test_all_runs_are_compared_with_the_ablations_trials_among_them(ablated):
    run_project(ablated, "compare_runs")
    runs = pd.read_csv(ablated / "data/smoke/08_reporting/compare_runs/runs.csv")
    made = table(ablated)
    assert set(runs["stage"]) == {f"{trial}-seed0" for trial in TRIALS}
    assert set(runs["kind"]) == {"trial"}
    # The run that trained them and the one that has only compared them again.
    assert runs["run_id"].nunique() == 2
    assert len(runs) == 16
    for _, row in runs.iterrows():
        expected = made.set_index("stage").loc[row["stage"]]
        assert row["accuracy"] == pytest.approx(expected["accuracy"])
        assert row["file_bytes"] == expected["file_bytes"]
    assert runs["latency_ms_batch1"].notna().all()
    smallest = runs.loc[runs["file_bytes"].idxmin()]
    assert smallest["front_size"]
    figures = ablated / "data/smoke/08_reporting/figures"
    for front in ("size", "latency", "macs"):
        assert plotly.io.from_json((figures / f"compare_runs_{front}.json").read_text()).data
    page = (ablated / "data/smoke/08_reporting/compare_runs/runs.html").read_text()
    assert "distillation-pruning-quantization-seed0" in page


TRAINING = {"epochs": 12, "optimizer": {"name": "sgd", "learning_rate": 0.1}}


def flow(quantization: str = "qat", warmup: float = 1, **ablation) -> Flow:
    def training(epochs: int, warmup: float = 0) -> dict:
        schedule = {"name": "one_cycle", "warmup_epochs": warmup}
        return TRAINING | {"epochs": epochs, "schedule": schedule, "seed": 5}

    kd = {"distillation": {"method": "kd"}}
    return Flow.of(
        AblationParameters.model_validate({"seeds": [0], **ablation}),
        DistillationParameters.model_validate(
            {**kd, "model": {"name": "net"}, "training": training(12, warmup)}
        ),
        PruningParameters.model_validate(
            {
                **kd,
                "more_teachers": "average",
                "pruning": {"method": "channels"},
                "training": training(7),
            }
        ),
        QuantizationParameters.model_validate(
            {**kd, "quantization": {"method": quantization}, "training": training(1)}
        ),
    )


@pytest.mark.parametrize(("quantization", "total"), [("qat", 20), ("static", 19)])
def test_each_subset_spends_what_the_flows_trained_steps_spend_together(quantization, total):
    made = flow(quantization)
    assert made.epochs == total
    for subset in SUBSETS:
        assert sum(made.steps(subset, 3).epochs().values()) == total
    quantized = made.steps(SUBSETS[3], 3)
    assert quantized.epochs() == {
        "student": 19,
        "quantized": 1 if quantization == "qat" else 0,
    }


def test_a_step_keeps_its_settings_but_for_seed_teacher_and_the_students_epochs():
    made = flow()
    *_, everything = SUBSETS
    whole = made.steps(everything, 5)
    assert (whole.student, whole.pruned, whole.quantized) == made[:3]
    without = made.steps(SUBSETS[6], 3)
    assert SUBSETS[6].name == "pruning-quantization"
    assert without.pruned.distillation.method == without.student.distillation.method == "none"
    assert without.pruned.more_teachers is None
    assert without.pruned.pruning == made.pruning.pruning
    assert without.pruned.training.seed == 3
    assert without.pruned.training.epochs == 7


def test_a_budget_of_ones_own_goes_to_the_student():
    made = flow(epochs=30)
    assert made.steps(SUBSETS[0], 0).epochs() == {"student": 30}
    assert made.steps(SUBSETS[-1], 0).epochs() == {"student": 22, "pruned": 7, "quantized": 1}


@pytest.mark.parametrize(("epochs", "left"), [(8, 0), (9, 1)])
def test_a_budget_that_leaves_the_student_too_little_is_refused(epochs, left):
    message = (
        rf"ablation: {epochs} epochs in all leave {left} for the student of the trial "
        r"(?s:.*)raise ablation.epochs"
    )
    with pytest.raises(ValueError, match=message):
        flow(epochs=epochs)


def test_without_a_method_there_is_nothing_to_compare():
    own = {"model": {"name": "net"}, "distillation": {"method": "none"}, "training": TRAINING}
    with pytest.raises(ValueError, match="trials with and without distillation would be the same"):
        flow(distillation=own)


def test_a_group_of_ones_own_takes_the_place_of_the_flows():
    own = {
        "distillation": {"method": "kd"},
        "pruning": {"method": "channels", "ratio": 0.75},
        "training": TRAINING | {"epochs": 3},
    }
    made = flow(pruning=own)
    assert made.pruning.pruning.ratio == 0.75
    assert made.epochs == 12 + 3 + 1


def test_seeds_that_repeat_are_refused():
    with pytest.raises(ValidationError, match=r"the seeds repeat: \[0, 0\]"):
        AblationParameters(seeds=[0, 0])


def test_an_impossible_ablation_is_refused_before_the_first_node(make_project, run):
    project = make_project("refused")
    with pytest.raises(ParameterValidationError, match=r"(?s)ablation.*epoch.*greater than 0"):
        run(project, "ablation", ablation={"epochs": 0})
    assert not (project / "data" / "smoke").exists()


def test_a_table_is_not_made_of_trials_that_were_not_run():
    with pytest.raises(ValueError, match=r"no record of plain-seed0, .*from its node run_ablation"):
        nodes.compare_trials({}, {}, pd.DataFrame(), AblationParameters(seeds=[0]))
