from types import SimpleNamespace

import pytest

from model_compression.tracking.registry import choose, figures

HERE = {"host_cpu": "this", "runtime": "onnxruntime 1", "reporting.threads": "1"}


def version(number, accuracy, file_bytes, latency=None, images="test", **other):
    tags = {"accuracy": str(accuracy), "file_bytes": str(file_bytes), "measured_on": images}
    if latency is not None:
        tags |= HERE | {"latency_ms_batch1": str(latency)} | other
    return SimpleNamespace(version=str(number), tags=tags)


def test_each_alias_goes_to_the_best_by_its_figure():
    versions = [version(1, 0.94, 1000, 5), version(2, 0.90, 300, 2), version(3, 0.89, 100, 3)]
    assert choose(versions, "test", HERE) == {
        "most-accurate": "1",
        "smallest": "3",
        "fastest": "2",
    }


def test_accuracies_on_other_test_images_are_not_compared():
    versions = [version(1, 0.99, 10, 1, images="easier"), version(2, 0.90, 300, 2)]
    assert set(choose(versions, "test", HERE).values()) == {"2"}


@pytest.mark.parametrize(
    "elsewhere",
    [{"host_cpu": "another"}, {"runtime": "onnxruntime 2"}, {"reporting.threads": "4"}],
)
def test_a_latency_from_elsewhere_is_not_compared(elsewhere):
    versions = [version(1, 0.94, 10, 0.1, **elsewhere), version(2, 0.90, 300, 2)]
    chosen = choose(versions, "test", HERE)
    assert chosen["fastest"] == "2"
    assert chosen["smallest"] == "1"


def test_an_alias_that_none_deserves_stays_where_it_is():
    assert choose([version(1, 0.9, 10)], "test", {}) == {"most-accurate": "1", "smallest": "1"}
    assert choose([SimpleNamespace(version="1", tags={})], "test", HERE) == {}


def test_among_equals_the_more_accurate_wins_then_the_smaller_then_the_newer():
    assert choose([version(1, 0.9, 10), version(2, 0.8, 10)], "test", {})["smallest"] == "1"
    assert choose([version(1, 0.9, 10), version(2, 0.9, 20)], "test", {})["most-accurate"] == "1"
    assert choose([version(9, 0.9, 10), version(10, 0.9, 10)], "test", {})["smallest"] == "10"


def test_figures_of_a_version_are_whole_numbers_where_they_are_counts():
    tags = figures({"accuracy": 0.93, "file_bytes": 1200.0, "learning_rate": 0.1})
    assert tags == {"accuracy": "0.93", "file_bytes": "1200"}
