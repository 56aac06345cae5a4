"""MLflow's own pages over two runs, as a lead opens them."""

import json
import re
import urllib.parse

import mlflow
import pytest

STAGES = ("teacher", "student", "pruned", "quantized")

# A server without log-in has no users; MLflow's page asks for the current one all the same.
NO_LOG_IN = "/ajax-api/2.0/mlflow/users/current"


@pytest.fixture(scope="module")
def store(project) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(f"sqlite:///{project / 'mlflow.db'}")


@pytest.fixture(scope="module")
def experiment(store) -> str:
    return store.get_experiment_by_name("model_compression_smoke").experiment_id


def faults(seen) -> list[str]:
    return [error for error in seen.errors if NO_LOG_IN not in error]


def test_the_comparison_of_two_runs_shows_both_and_what_differs(
    visit, mlflow_address, store, experiment
):
    runs = [
        run for run in store.search_runs([experiment]) if "mlflow.parentRunId" not in run.data.tags
    ]
    assert len(runs) == 2
    chosen = urllib.parse.quote(json.dumps([run.info.run_id for run in runs]))
    within = urllib.parse.quote(json.dumps([experiment]))
    seen = visit(f"{mlflow_address}/#/compare-runs?runs={chosen}&experiments={within}")
    seen.page.get_by_text("Comparing 2 Runs from 1 Experiment").wait_for()
    for run in runs:
        seen.page.get_by_role("link", name=run.info.run_id).wait_for()
    row = seen.page.get_by_role(
        "row", name=re.compile(r"^distillation\.distillation\.temperature ")
    )
    assert {"4.0", "8.0"} <= set(row.inner_text().split())
    assert faults(seen) == []
    assert seen.outside == []


def test_the_models_tab_shows_the_stages(visit, mlflow_address, experiment):
    seen = visit(f"{mlflow_address}/#/experiments/{experiment}/models")
    for stage in STAGES:
        seen.page.get_by_role("link", name=stage, exact=True).first.wait_for()
    assert faults(seen) == []
    assert seen.outside == []
