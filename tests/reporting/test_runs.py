"""Which runs nobody beats, and what is comparable with what."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_compression.reporting import RUN_COLUMNS, render_runs, run_table, runs_figure
from model_compression.reporting.runs import comparable, pareto_front


def row(run: str, stage: str = "student", **values) -> dict:
    return {
        "run": run,
        "run_id": f"{run}-id",
        "started": "2026-11-25T07:00:00+00:00",
        "kind": "stage",
        "stage": stage,
        "test_images": "images 1",
        "cpu": "Xeon",
        "threads": "1",
        "accuracy": 0.9,
        "accuracy_low": 0.89,
        "accuracy_high": 0.91,
        "macs": 10_000,
        "file_bytes": 1000,
        "latency_ms_batch1": 0.5,
        **values,
    }


grid = st.integers(0, 4)


@given(st.lists(st.tuples(grid, grid), min_size=1, max_size=12))
def test_the_front_is_what_no_point_dominates(points):
    costs, accuracies = (np.array(column, dtype=float) for column in zip(*points, strict=True))
    dominated = [
        any(
            other <= cost and better >= accuracy and (other < cost or better > accuracy)
            for other, better in points
        )
        for cost, accuracy in points
    ]
    assert list(pareto_front(costs, accuracies)) == [not each for each in dominated]


def test_what_was_not_measured_is_on_no_front():
    chosen = pareto_front(np.array([1.0, np.nan, 2.0]), np.array([0.5, 0.9, np.nan]))
    assert list(chosen) == [True, False, False]


def test_the_table_marks_its_fronts_and_begins_with_the_newest():
    table = run_table(
        [
            row("old", started="2026-11-24T07:00:00+00:00", accuracy=0.8, file_bytes=500),
            row("new", accuracy=0.95, macs=20_000),
            row("beaten", accuracy=0.7),
        ]
    )
    assert list(table.columns) == [*RUN_COLUMNS, "front_size", "front_latency", "front_macs"]
    assert list(table["run"]) == ["new", "beaten", "old"]
    assert list(table["front_size"]) == [True, False, True]
    assert list(table["front_macs"]) == [True, False, True]
    assert list(table["front_latency"]) == [True, False, False]
    assert table["packed_bytes"].isna().all()
    assert list(table["overrides"]) == ["", "", ""]


def test_latencies_are_compared_on_the_same_processor_and_threads_alone():
    table = run_table(
        [
            row("slow", accuracy=0.8, latency_ms_batch1=0.9),
            row("elsewhere", cpu="EPYC", accuracy=0.7, latency_ms_batch1=2.0),
            row("threaded", threads="4", accuracy=0.7, latency_ms_batch1=2.0),
            row("fast", accuracy=0.9),
        ]
    ).set_index("run")
    assert list(table["front_latency"][["slow", "elsewhere", "threaded", "fast"]]) == [
        False,
        True,
        True,
        True,
    ]
    # Sizes are the same everywhere.
    assert list(table["front_size"][["slow", "elsewhere", "fast"]]) == [False, False, True]


def test_a_run_that_does_not_tell_its_processor_is_compared_with_itself_alone():
    table = run_table(
        [
            row("one", "teacher", cpu=None, latency_ms_batch1=0.9),
            row("one", "student", cpu=None, latency_ms_batch1=0.5),
            row("two", "student", cpu=None, latency_ms_batch1=0.7),
        ]
    )
    assert list(table["front_latency"]) == [False, True, True]
    groups = comparable(table, "latency")
    assert groups[0] == groups[1] == "unknown processor of run one-id"
    assert groups[2] != groups[0]


def test_accuracies_on_other_test_images_have_a_front_of_their_own():
    table = run_table([row("a"), row("b", accuracy=0.5, test_images="images 2")])
    assert list(table["front_size"]) == [True, True]
    fronts = [trace.name for trace in runs_figure(table, "size").data if trace.mode == "lines"]
    assert fronts == ["front (filled), images 1", "front (filled), images 2"]


def test_the_figure_fills_the_front_and_names_runs_and_overrides():
    table = run_table(
        [
            row("compress a=1", overrides="a=1", accuracy=0.95),
            row("compress", "quantized", accuracy=0.9, file_bytes=2000),
            row("ablation", "plain-seed0", kind="trial", accuracy=0.8, file_bytes=400),
        ]
    )
    figure = runs_figure(table, "size")
    traces = {trace.name: trace for trace in figure.data}
    assert set(traces) == {"front (filled)", "student", "quantized", "trial"}
    assert list(traces["front (filled)"].x) == [400, 1000]
    assert list(traces["front (filled)"].y) == [0.8, 0.95]
    assert traces["front (filled)"].line.shape == "hv"
    student, quantized = traces["student"], traces["quantized"]
    assert student.marker.color == (student.marker.line.color,)
    assert quantized.marker.color != (quantized.marker.line.color,)
    assert "compress a=1" in student.customdata[0]
    assert "a=1" in student.customdata[0].split("<br>")[3]
    assert "on the front" in student.customdata[0]
    assert "on the front" not in quantized.customdata[0]
    assert "plain-seed0" in traces["trial"].customdata[0]


def test_runs_with_the_very_same_result_are_one_point_that_names_them():
    table = run_table([row(f"run {number}") for number in range(7)])
    (trace,) = (trace for trace in runs_figure(table, "macs").data if trace.mode == "markers")
    assert len(trace.x) == 1
    assert [f"run {number}" in trace.customdata[0] for number in range(7)] == [True] * 5 + [
        False
    ] * 2
    assert "and 2 more runs" in trace.customdata[0]


def test_a_cost_that_no_run_has_measured_is_said_to_be_missing():
    table = run_table([row("a", latency_ms_batch1=None)])
    figure = runs_figure(table, "latency")
    assert [annotation.text for annotation in figure.layout.annotations] == [
        "Time for one image not measured"
    ]


def test_what_a_run_is_called_is_text_and_not_markup():
    table = run_table([row("<b>x</b>", overrides="a=<i>")])
    (trace,) = (trace for trace in runs_figure(table, "size").data if trace.mode == "markers")
    assert "&lt;b&gt;x" in trace.customdata[0]
    assert "a=&lt;i&gt;" in trace.customdata[0]
    assert "<i>" not in render_runs(table)


def test_the_page_lists_every_run_and_who_is_on_a_front(tmp_path):
    table = run_table([row("winner"), row("loser", accuracy=0.5, file_bytes=9000)])
    table.to_csv(tmp_path / "runs.csv", index=False)
    page = render_runs(pd.read_csv(tmp_path / "runs.csv"))
    assert "2 runs, 2 results, 1 of them on a front" in page
    on_front, all_runs = page.split('id="all"')
    assert "winner" in on_front.split('id="on-a-front"')[1]
    assert "loser" not in on_front.split('id="on-a-front"')[1]
    assert "loser" in all_runs
    assert "http://" not in page.split("<main>")[0]


def test_what_a_runs_name_tells_is_not_told_again_below_it():
    table = run_table(
        [
            row("compress a.b=2", overrides="a.b=2", environment="smoke"),
            row("mine", overrides="c.d=3", environment="smoke"),
        ]
    )
    page = render_runs(table)
    assert page.count("<small>2026-11-25 07:00</small>") == 2  # on the front, and of all
    assert page.count("<small>2026-11-25 07:00 · c.d=3</small>") == 2


def test_a_table_of_something_else_is_refused():
    with pytest.raises(ValueError, match="The runs table lacks the columns"):
        runs_figure(pd.DataFrame({"run": ["a"]}), "size")
