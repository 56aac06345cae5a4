"""The time to a first node, of commands that only say that they run one."""

import sys

import pytest


def command(script: str) -> list[str]:
    return [sys.executable, "-S", "-c", script]


def test_the_clock_stops_at_the_first_node_and_not_at_the_end(load, tmp_path):
    script = load("start_up")
    waits = "import time; time.sleep(0.2); print('Running node: a', flush=True); time.sleep(2)"
    assert 0.2 <= script.time_to_first_node(command(waits), tmp_path).seconds < 2


def test_waiting_is_no_work(load, tmp_path):
    script = load("start_up")
    say = "print('Running node: a', flush=True); time.sleep(0.2)"
    works = f"import time\nwhile time.process_time() < 0.5: pass\n{say}"
    waits = f"import time; time.sleep(0.5); {say}"
    idle, busy = (script.time_to_first_node(command(each), tmp_path) for each in (waits, works))
    assert idle.cpu_seconds < 0.4 <= busy.cpu_seconds < 1


@pytest.mark.parametrize("fails", ["print('nothing')", "print('Running node: a'); 1 / 0"])
def test_a_run_that_fails_or_runs_no_node_is_no_measurement(load, tmp_path, fails):
    script = load("start_up")
    with pytest.raises(SystemExit, match="ran no node"):
        script.time_to_first_node(command(fails), tmp_path)
