import logging
import time

import pytest

from model_compression.tracking.system_metrics import SystemMetrics, wanted


def test_samples_are_handed_over_from_step_one_on_until_it_is_finished(monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")
    monkeypatch.chdir(tmp_path)
    samples = []
    metrics = SystemMetrics(lambda values, step: samples.append((step, values)))
    metrics.start()
    while len(samples) < 2:
        time.sleep(0.01)
    metrics.finish()
    count = len(samples)
    assert [step for step, _ in samples] == list(range(1, count + 1))
    assert samples[-1][1]["system/system_memory_usage_megabytes"] > 0
    assert "system/cpu_utilization_percentage" in samples[-1][1]
    assert list(tmp_path.iterdir()) == []  # no database of MLflow's


def test_an_error_ends_the_sampling_and_nothing_else(monkeypatch, caplog):
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.01")

    def refuse(values, step):
        raise ValueError("refused")

    metrics = SystemMetrics(refuse)
    with caplog.at_level(logging.WARNING):
        metrics.start()
        metrics.finish()
    assert "no longer sampled" in caplog.text


@pytest.mark.parametrize(("said", "expected"), [(None, True), ("true", True), ("false", False)])
def test_they_can_be_turned_off(monkeypatch, said, expected):
    monkeypatch.delenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", raising=False)
    if said is not None:
        monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", said)
    assert wanted() is expected
