"""Ways to teach, compared: what that leaves behind, does not do twice, and refuses."""

import json
import logging
import shutil
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import plotly.io
import pytest
from kedro.validation.exceptions import ParameterValidationError
from pydantic import ValidationError

from model_compression.deployment import OnnxRuntimeClassifier
from model_compression.images import read_image_set
from model_compression.models import read_checkpoint
from model_compression.pipelines.distillation_benchmark import nodes
from model_compression.pipelines.distillation_benchmark.parameters import BenchmarkParameters
from model_compression.pipelines.stage.nodes import export
from model_compression.pipelines.trials import Run

RUNS = ["kd-seed0", "kd-seed1", "plain-seed0", "plain-seed1"]
TRAINED = " epochs on "


@pytest.fixture
def copy_of(tmp_path):
    return lambda project: Path(shutil.copytree(project, tmp_path / "copy", symlinks=True))


def record(project: Path, key: str) -> dict:
    folder = project / "data" / "smoke" / "08_reporting" / "distillation_benchmark" / "trials"
    return json.loads((folder / f"{key}.json").read_text())


def checkpoints(project: Path) -> Path:
    return project / "data" / "smoke" / "06_models" / "distillation_benchmark"


def table(project: Path) -> pd.DataFrame:
    folder = project / "data" / "smoke" / "08_reporting" / "distillation_benchmark"
    return pd.read_csv(folder / "comparison.csv").set_index("trial", drop=False)


def client(project: Path) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(f"sqlite:///{project / 'mlflow.db'}")


def nested_runs(project: Path) -> tuple[mlflow.entities.Run, dict[str, mlflow.entities.Run]]:
    """The newest run of a whole pipeline, and the runs in it by name."""
    experiment = client(project).get_experiment_by_name("model_compression_smoke")
    found = client(project).search_runs(
        [experiment.experiment_id], order_by=["attributes.start_time DESC"]
    )
    parent = next(run for run in found if "mlflow.parentRunId" not in run.data.tags)
    inside = {
        run.info.run_name: run
        for run in found
        if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id
    }
    return parent, inside


def trained(log: str) -> set[str]:
    """The runs that a log says were trained."""
    lines = (line for line in log.splitlines() if TRAINED in line)
    return {line.split(": ")[0].split()[-1] for line in lines}


def test_the_table_tells_what_the_files_of_all_trials_are_worth(benchmarked):
    summary = table(benchmarked)
    accuracies = {key: record(benchmarked, key)["test_accuracy"] for key in RUNS}
    assert list(summary["trial"]) == ["plain", "kd"]
    for name in ("plain", "kd"):
        values = [accuracies[f"{name}-seed{seed}"] for seed in (0, 1)]
        assert summary.loc[name, "accuracy_mean"] == pytest.approx(np.mean(values))
        assert summary.loc[name, "accuracy_std"] == pytest.approx(np.std(values, ddof=1))
        assert summary.loc[name, "seeds"] == 2
        assert summary.loc[name, "seconds"] > summary.loc[name, "epoch_seconds"] > 0
    gains = [accuracies[f"kd-seed{seed}"] - accuracies[f"plain-seed{seed}"] for seed in (0, 1)]
    assert summary.loc["kd", "gain"] == pytest.approx(np.mean(gains))
    assert np.isnan(summary.loc["plain", "gain"])
    assert list(summary["method"]) == ["none", "kd"]
    assert set(summary["architecture"]) == {"net"}


@pytest.mark.parametrize("key", RUNS)
def test_a_trial_is_judged_on_its_file_and_chosen_on_validation(benchmarked, key):
    kept = record(benchmarked, key)
    checkpoint = read_checkpoint(checkpoints(benchmarked) / f"{key}.safetensors")
    test = read_image_set(benchmarked / "data" / "smoke" / "05_model_input" / "test")
    logits = OnnxRuntimeClassifier(export(checkpoint)).logits(test.images)
    assert kept["test_accuracy"] == pytest.approx((logits.argmax(1) == test.labels).mean())
    assert kept["test_images"] == len(test) == 300
    losses = [row["validation_loss"] for row in kept["history"]]
    best = kept["history"][kept["best_epoch"] - 1]
    assert best["validation_loss"] == min(losses)
    assert kept["validation_accuracy"] == best["validation_accuracy"]
    assert kept["seconds"] == pytest.approx(sum(row["seconds"] for row in kept["history"]))
    assert kept["fingerprint"] == checkpoint.fingerprint
    assert (kept["name"], kept["seed"]) == (key.split("-")[0], int(key[-1]))
    assert kept["parameters"]["training.seed"] == kept["seed"]


def test_each_seed_is_another_training_of_the_same_recipe(benchmarked):
    first, second = (record(benchmarked, f"plain-seed{seed}") for seed in (0, 1))
    assert first["history"][0]["train_loss"] != second["history"][0]["train_loss"]
    differing = {
        name
        for name in first["parameters"]
        if first["parameters"][name] != second["parameters"][name]
    }
    assert differing == {"training.seed"}


def test_the_plot_has_the_trials_but_the_control(benchmarked):
    path = benchmarked / "data/smoke/08_reporting/figures/distillation_gains.json"
    figure = plotly.io.from_json(path.read_text())
    assert list(figure.layout.yaxis.ticktext) == ["kd"]
    assert figure.data[0].x[0] == pytest.approx(100 * table(benchmarked).loc["kd", "gain"])


def test_each_trial_is_a_nested_run_with_parameters_curves_and_metrics(benchmarked):
    parent, inside = nested_runs(benchmarked)
    assert parent.info.status == "FINISHED"
    assert sorted(inside) == RUNS
    for key, run in inside.items():
        kept = record(benchmarked, key)
        assert run.info.status == "FINISHED"
        tags = {name: run.data.tags[name] for name in ("stage", "method", "seed")}
        assert tags == {
            "stage": kept["name"],
            "method": kept["method"],
            "seed": str(kept["seed"]),
        }
        metrics = run.data.metrics
        assert metrics["test_accuracy"] == pytest.approx(kept["test_accuracy"])
        assert metrics["best_validation_accuracy"] == pytest.approx(kept["validation_accuracy"])
        assert metrics["training_seconds"] == pytest.approx(kept["seconds"])
        assert metrics["file_bytes"] == kept["file_bytes"]
        assert run.data.params["distillation.method"] == kept["method"]
        assert run.data.params["training.optimizer.name"] == "sgd"
        curve = client(benchmarked).get_metric_history(run.info.run_id, "validation_accuracy")
        assert [(point.step, point.value) for point in curve] == [
            (row["epoch"], pytest.approx(row["validation_accuracy"])) for row in kept["history"]
        ]
        assert run.info.end_time - run.info.start_time >= 1000 * kept["seconds"]
    assert parent.data.params["distillation_benchmark.control"] == "plain"


def test_nothing_is_trained_twice_and_finished_trials_get_no_second_run(
    benchmarked, copy_of, run, caplog
):
    project = copy_of(benchmarked)
    before = {path: path.read_bytes() for path in checkpoints(project).iterdir()}
    with caplog.at_level(logging.INFO):
        run(project, "distillation_benchmark")
    assert trained(caplog.text) == set()
    for key in RUNS:
        assert f"{key}: nothing has changed" in caplog.text
    assert {path: path.read_bytes() for path in checkpoints(project).iterdir()} == before
    pd.testing.assert_frame_equal(table(project), table(benchmarked))
    assert nested_runs(project)[1] == {}


def test_a_changed_trial_is_trained_again_with_those_that_learn_from_it_alone(
    benchmarked, copy_of, run, caplog
):
    project = copy_of(benchmarked)
    again = {"distillation": {"method": "kd"}, "teachers": ["plain"]}
    with caplog.at_level(logging.INFO):
        run(
            project,
            "distillation_benchmark",
            distillation_benchmark={
                "seeds": [0],
                "only": ["again", "kd"],
                "trials": {"again": again},
            },
        )
    assert trained(caplog.text) == {"again-seed0"}
    assert list(table(project)["trial"]) == ["plain", "kd", "again"]
    assert table(project).loc["again", "teachers"] == "plain"
    caplog.clear()
    smoothed = {"distillation": {"method": "none", "label_smoothing": 0.1}}
    with caplog.at_level(logging.INFO):
        run(
            project,
            "distillation_benchmark",
            distillation_benchmark={
                "seeds": [0],
                "only": ["again", "kd"],
                "trials": {"again": again, "plain": smoothed},
            },
        )
    assert trained(caplog.text) == {"plain-seed0", "again-seed0"}
    assert "kd-seed0: nothing has changed" in caplog.text
    # The trials that were not asked for stay on disk, but out of the table.
    assert record(project, "plain-seed1") == record(benchmarked, "plain-seed1")
    assert set(table(project)["seeds"]) == {1}


def test_new_test_images_need_new_judgements_but_no_training(benchmarked, copy_of, run, caplog):
    project = copy_of(benchmarked)
    run(project, "data_preparation", data={"test_limit": 200})
    with caplog.at_level(logging.INFO):
        run(project, "distillation_benchmark", distillation_benchmark={"seeds": [0]})
    assert trained(caplog.text) == set()
    assert record(project, "kd-seed0")["test_images"] == 200
    assert record(project, "kd-seed0")["history"] == record(benchmarked, "kd-seed0")["history"]
    assert record(project, "kd-seed1")["test_images"] == 300


def test_a_crash_costs_the_trial_that_was_under_way_and_no_other(
    taught, copy_of, run, caplog, monkeypatch
):
    project = copy_of(taught)
    one_seed = {"seeds": [0]}

    students = []

    def fail(teachers, method, student, *others):
        students.append({name: value.clone() for name, value in student.state_dict().items()})
        if method.method == "kd":
            raise MemoryError("as if")
        return learn_from(teachers, method, student, *others)

    learn_from = nodes.learn_from
    with monkeypatch.context() as patch:
        patch.setattr(nodes, "learn_from", fail)
        with pytest.raises(MemoryError):
            run(project, "distillation_benchmark", distillation_benchmark=one_seed)
    parent, inside = nested_runs(project)
    assert parent.info.status == "FAILED"
    assert {key: run.info.status for key, run in inside.items()} == {"plain-seed0": "FINISHED"}
    assert [path.name for path in checkpoints(project).iterdir()] == ["plain-seed0.safetensors"]
    # Whatever the method, a seed's student is the same before it learns.
    assert all(students[0][name].equal(students[1][name]) for name in students[0])
    caplog.clear()
    with caplog.at_level(logging.INFO):
        run(project, "distillation_benchmark", distillation_benchmark=one_seed)
    assert trained(caplog.text) == {"kd-seed0"}
    assert list(table(project)["trial"]) == ["plain", "kd"]
    assert sorted(nested_runs(project)[1]) == ["kd-seed0"]


def test_a_checkpoint_without_its_record_is_not_taken_for_a_finished_trial(
    benchmarked, copy_of, run, caplog
):
    project = copy_of(benchmarked)
    folder = project / "data/smoke/08_reporting/distillation_benchmark/trials"
    (folder / "plain-seed1.json").unlink()
    with caplog.at_level(logging.INFO):
        run(project, "distillation_benchmark", distillation_benchmark={"only": ["plain"]})
    assert trained(caplog.text) == {"plain-seed1"}
    before, after = (
        read_checkpoint(checkpoints(where) / "plain-seed1.safetensors")
        for where in (benchmarked, project)
    )
    assert all(after.weights[name].equal(before.weights[name]) for name in before.weights)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"only": ["kdd"]}, r"the group names the trial 'kdd'.*did you mean 'kd'"),
        ({"trials": {"x": {"distillation": {"method": "no"}}}}, r"trials.x.*'kd'"),
    ],
)
def test_an_impossible_benchmark_is_refused_before_the_first_node(
    make_project, run, changed, message
):
    project = make_project("refused")
    with pytest.raises(ParameterValidationError, match=f"(?s)distillation_benchmark.*{message}"):
        run(project, "distillation_benchmark", distillation_benchmark=changed)
    assert not (project / "data" / "smoke").exists()


KD = {"distillation": {"method": "kd"}}


def benchmark(trials: dict, **group) -> BenchmarkParameters:
    return BenchmarkParameters.model_validate(
        {
            "model": {"name": "resnet8"},
            "seeds": [0, 1],
            "control": "plain",
            "training": {"epochs": 2, "optimizer": {"name": "sgd", "learning_rate": 0.1}},
            "trials": {"plain": {"distillation": {"method": "none"}}, **trials},
            **group,
        }
    )


@pytest.mark.parametrize(
    ("trials", "message"),
    [
        ({"x": KD | {"teachers": ["plane"]}}, "trial 'x' names the trial 'plane'.*'plain'"),
        ({"x": KD | {"teachers": ["y"]}}, "there are teacher, plain, x"),
        ({"x": KD | {"control": "y"}}, "trial 'x' names the trial 'y'"),
        (
            {"x": KD | {"teachers": ["y"]}, "y": KD | {"teachers": ["x"]}},
            "in a circle: (x → y → x|y → x → y)",
        ),
        ({"x": KD | {"teachers": ["x"]}}, "in a circle: x → x"),
        ({"teacher": KD}, "'teacher' is the project's teacher"),
        ({"KD": KD}, "should match pattern"),
        ({"x": KD | {"teachers": []}}, "at least 1 item"),
        ({"x": KD | {"teachers": ["teacher", "plain"]}}, "2 teachers need to be combined"),
        ({"x": KD | {"combine": "average"}}, "only the teacher 'teacher'"),
        (
            {"x": KD | {"seeds": [5, 6]}, "y": KD | {"teachers": ["x"]}},
            r"'y' with seed 0 learns from 'x', which has the seeds \[5, 6\]",
        ),
        ({"x": KD | {"seed": 1}}, "Extra inputs are not permitted"),
        ({"x": KD | {"seeds": [0, 0]}}, r"seeds of trial 'x' repeat: \[0, 0\]"),
    ],
)
def test_trials_that_do_not_fit_together_are_refused(trials, message):
    with pytest.raises(ValidationError, match=message):
        benchmark(trials)


def test_a_control_that_there_is_not_is_refused():
    with pytest.raises(ValidationError, match=r"the group names the trial 'none'.*there are plain"):
        benchmark({}, control="none")


def test_a_table_is_not_made_of_trials_that_were_not_run():
    with pytest.raises(ValueError, match="no record of plain-seed0, plain-seed1: run the pipeline"):
        nodes.compare_trials({}, benchmark({}))


def test_views_need_an_augmentation_to_make_them():
    bare = {
        "epochs": 2,
        "optimizer": {"name": "sgd", "learning_rate": 0.1},
        "augmentation": None,
    }
    with pytest.raises(ValidationError, match="no augmentation to make views with"):
        benchmark({"x": KD | {"views": 2}}, training=bare)


def test_teachers_are_trained_before_those_that_learn_from_them_seed_by_seed():
    parameters = benchmark(
        {
            "third": KD | {"teachers": ["second"]},
            "second": KD | {"teachers": ["first", "teacher"], "combine": "average"},
            "first": KD | {"seeds": [7]},
        }
    )
    assert [run.key for run in parameters.runs()] == [
        "plain-seed0",
        "first-seed7",
        "second-seed0",
        "third-seed0",
        "plain-seed1",
        "second-seed1",
        "third-seed1",
    ]
    assert parameters.teachers_of(Run("second", 1)) == [Run("first", 7), None]


def test_chosen_trials_bring_those_that_they_need():
    parameters = benchmark(
        {
            "a": KD,
            "b": KD | {"teachers": ["c"]},
            "c": KD | {"teachers": ["d"], "control": "e"},
            "d": KD,
            "e": KD,
        },
        only=["b"],
    )
    assert parameters.chosen() == ["plain", "b", "c", "d", "e"]
    assert {run.trial for run in parameters.runs()} == set(parameters.chosen())


def test_a_recipe_fills_in_what_a_trial_leaves_out():
    parameters = benchmark({"x": KD | {"views": 3, "model": {"name": "resnet14"}}})
    plain, other = parameters.recipe(Run("plain", 1)), parameters.recipe(Run("x", 0))
    assert (plain.model.name, plain.training.seed) == ("resnet8", 1)
    assert (other.model.name, other.training.seed) == ("resnet14", 0)
    assert other.training.augmentation.views == 3
    assert plain.training.augmentation == parameters.training.augmentation
