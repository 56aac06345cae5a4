"""All runs, compared: which are read, and what is said where there are none."""

import pandas as pd
import pytest

from model_compression.pipelines.compare_runs.nodes import draw, gather_runs, write_page
from model_compression.pipelines.compare_runs.parameters import CompareRunsParameters

STAGE = {
    "run": "compress",
    "run_id": "1",
    "started": "2026-11-25T07:00:00+00:00",
    "kind": "stage",
    "stage": "student",
    "accuracy": 0.9,
    "file_bytes": 1000,
    "macs": 10,
}
TRIAL = STAGE | {"run": "ablation", "run_id": "2", "kind": "trial", "stage": "plain-seed0"}


def parameters(**values) -> CompareRunsParameters:
    return CompareRunsParameters.model_validate({"experiments": ["mine"]} | values)


def test_the_runs_of_all_named_experiments_are_compared():
    table = gather_runs(
        {"mine": [STAGE], "yours": [STAGE | {"accuracy": 0.95}], "others": [STAGE]},
        parameters(experiments=["mine", "yours"]),
    )
    assert list(table["accuracy"]) == [0.9, 0.95]
    assert list(table["front_size"]) == [False, True]


def test_trials_can_be_left_out():
    experiments = {"mine": [STAGE, TRIAL]}
    assert set(gather_runs(experiments, parameters())["kind"]) == {"stage", "trial"}
    assert set(gather_runs(experiments, parameters(trials=False))["kind"]) == {"stage"}


def test_where_nothing_was_run_it_is_said_what_to_do_first():
    with pytest.raises(ValueError, match=r"no finished run .* in mine: run .*--pipeline=compress"):
        gather_runs({"mine": []}, parameters())
    with pytest.raises(ValueError, match="no finished run with a judged stage"):
        gather_runs({"mine": [TRIAL]}, parameters(trials=False))


def test_an_experiment_that_there_is_not_is_named_beside_those_that_there_are():
    with pytest.raises(ValueError, match=r"no experiment 'mine'; it has a, b: name others"):
        gather_runs({"a": [], "b": []}, parameters())


def test_figures_and_page_are_made_of_the_table_as_its_file_holds_it(tmp_path):
    gather_runs({"mine": [STAGE]}, parameters()).to_csv(tmp_path / "runs.csv", index=False)
    table = pd.read_csv(tmp_path / "runs.csv")
    size, latency, macs = draw(table)
    assert size.data[-1].x == (1000,)
    assert latency.layout.annotations[0].text == "Time for one image not measured"
    assert macs.data[-1].x == (10,)
    assert "1 run, 1 results, 1 of them on a front" in write_page(table)


@pytest.mark.parametrize("env", ["smoke", "study", "deep_compression"])
def test_each_environment_compares_what_it_tracks(env, make_project, monkeypatch):
    from kedro.config import OmegaConfigLoader

    project = make_project(env)
    loader = OmegaConfigLoader(
        str(project / "conf"),
        env=env,
        base_env="base",
        default_run_env="local",
        config_patterns={"mlflow": ["mlflow*", "mlflow*/**", "**/mlflow*"]},
        merge_strategy={"parameters": "soft", "globals": "soft", "mlflow": "soft"},
    )
    name = loader["mlflow"]["tracking"]["experiment"]["name"]
    assert name == f"model_compression_{env}"
    assert loader["parameters"]["compare_runs"]["experiments"] == [name]
