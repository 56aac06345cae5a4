"""Who the time of a run is counted to."""

from types import SimpleNamespace

import pytest


@pytest.fixture
def watch(load):
    """A stopwatch whose clock stands still but for ``watch.wait``."""
    clock = SimpleNamespace(time=100.0)
    watch = load("whole_run").Stopwatch(lambda node: node.stage, lambda: clock.time)

    def wait(seconds: float) -> None:
        clock.time += seconds

    watch.wait = wait
    return watch


def call(watch, hook, node=None, seconds=0.0):
    watch.begin(hook, node)
    watch.wait(seconds)
    watch.end(hook)


def test_every_second_from_the_first_node_on_has_one_owner(watch, load):
    node = SimpleNamespace(stage="teacher", name="train")
    call(watch, "before_pipeline_run", seconds=1000)
    call(watch, "before_dataset_loaded", node, 1)
    watch.wait(2)  # the load
    call(watch, "after_dataset_loaded", node, 4)
    call(watch, "before_node_run", node, 8)
    watch.wait(16)  # the node, which is a generator's first part
    call(watch, "after_node_run", node)
    watch.wait(32)  # its second
    call(watch, "before_dataset_saved", node)
    watch.wait(64)  # the save
    call(watch, "after_dataset_saved", node, 128)
    watch.wait(256)
    call(watch, "after_pipeline_run", seconds=512)
    assert watch.seconds["teacher"] == {
        "functions": 48,
        "hooks": 1 + 4 + 8 + 128 + 512,
        "loads": 2,
        "saves": 64,
        "between": 256,
    }
    assert watch.by_hook["after_dataset_saved"] == 128
    assert watch.first_node == 1100
    assert load("whole_run").share(watch.seconds) == pytest.approx(1 - 48 / 1023)


def test_a_hook_that_calls_hooks_is_counted_once(watch):
    node = SimpleNamespace(stage="teacher", name="train")
    watch.begin("after_dataset_saved", node)
    watch.wait(1)
    call(watch, "after_catalog_created", seconds=2)
    watch.wait(4)
    watch.end("after_dataset_saved")
    assert watch.seconds["teacher"]["hooks"] == 7
    assert dict(watch.by_hook) == {"after_dataset_saved": 7}


def test_each_stage_has_its_own_time(watch):
    for stage, seconds in [("teacher", 1), ("student", 2)]:
        node = SimpleNamespace(stage=stage, name=stage)
        call(watch, "before_node_run", node)
        watch.wait(seconds)
        call(watch, "after_node_run", node)
    assert [watch.seconds[stage]["functions"] for stage in ("teacher", "student")] == [1, 2]


def test_the_copy_holds_nothing_that_an_earlier_run_made(load, tmp_path):
    load("whole_run").copy_project(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "conf",
        "data",
        "pyproject.toml",
        "src",
    ]
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["01_raw"]
