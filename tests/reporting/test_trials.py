import json
import math

import numpy as np
import pandas as pd
import plotly.io
import pytest
from scipy import stats

from model_compression.reporting import TRIAL_COLUMNS, trial_gains, trial_table
from model_compression.reporting.trials import paired_gain


def record(accuracy, method="kd", seconds=60.0, epochs=(20.0, 5.0, 5.0)):
    return {
        "method": method,
        "architecture": "resnet8",
        "test_accuracy": accuracy,
        "validation_accuracy": accuracy + 0.01,
        "seconds": seconds,
        "history": [{"epoch": i + 1, "seconds": value} for i, value in enumerate(epochs)],
    }


PLAIN = (0.880, 0.884, 0.879)
KD = (0.889, 0.887, 0.890)


@pytest.fixture
def trials():
    return {
        "plain": {seed: record(value, "none") for seed, value in enumerate(PLAIN)},
        "kd": {seed: record(value) for seed, value in enumerate(KD)},
        "born_again": {1: record(0.885, seconds=50.0)},
    }


def tabulate(trials, **controls):
    return trial_table(
        trials,
        teachers={name: ["teacher"] for name in trials} | {"born_again": ["teacher", "plain"]},
        controls=dict.fromkeys(trials, "plain") | controls,
    ).set_index("trial", drop=False)


def test_the_table_has_the_promised_columns_and_a_row_a_trial_in_order(trials):
    table = tabulate(trials)
    assert list(table.columns) == list(TRIAL_COLUMNS)
    assert list(table["trial"]) == ["plain", "kd", "born_again"]
    assert list(table["seeds"]) == [3, 3, 1]
    assert list(table["teachers"]) == ["teacher", "teacher", "teacher + plain"]


def test_accuracies_are_summarised_over_the_seeds(trials):
    kd = tabulate(trials).loc["kd"]
    assert kd["accuracy_mean"] == pytest.approx(np.mean(KD))
    assert kd["accuracy_std"] == pytest.approx(np.std(KD, ddof=1))
    assert kd["validation_accuracy_mean"] == pytest.approx(np.mean(KD) + 0.01)
    assert (kd["seconds"], kd["epoch_seconds"]) == (60.0, 5.0)


def test_the_gain_is_that_of_a_paired_t_test(trials):
    kd = tabulate(trials).loc["kd"]
    expected = stats.ttest_rel(KD, PLAIN).confidence_interval(0.95)
    assert kd["gain"] == pytest.approx(np.subtract(KD, PLAIN).mean())
    assert (kd["gain_low"], kd["gain_high"]) == pytest.approx((expected.low, expected.high))
    assert kd["wins"] == 3


def test_only_seeds_that_both_have_are_compared(trials):
    trials["plain"].pop(0)
    kd = tabulate(trials).loc["kd"]
    assert kd["gain"] == pytest.approx(np.subtract(KD, PLAIN)[1:].mean())
    assert kd["wins"] == 2


def test_a_trial_can_have_a_control_of_its_own(trials):
    row = tabulate(trials, born_again="kd").loc["born_again"]
    assert row["control"] == "kd"
    assert row["gain"] == pytest.approx(0.885 - KD[1])
    assert row["wins"] == 0


def test_a_control_has_no_gain_and_a_single_seed_no_interval(trials):
    table = tabulate(trials)
    assert table.loc["plain", ["gain", "gain_low", "gain_high", "wins"]].isna().all()
    single = table.loc["born_again"]
    assert single["gain"] == pytest.approx(0.001)
    assert single[["gain_low", "gain_high", "accuracy_std"]].isna().all()


def test_without_a_seed_in_common_there_is_no_gain(trials):
    trials["born_again"] = {7: record(0.9)}
    assert tabulate(trials).loc["born_again", ["gain", "gain_low"]].isna().all()


def test_the_interval_is_a_point_where_all_differences_are_equal():
    assert paired_gain([0.25, 0.25]) == (0.25, 0.25, 0.25, 2)
    assert paired_gain([-0.25, 0.0]).wins == 0
    assert math.isnan(paired_gain([]).mean)


def test_the_table_survives_its_file(trials, tmp_path):
    table = tabulate(trials)
    table.to_csv(tmp_path / "comparison.csv", index=False)
    read = pd.read_csv(tmp_path / "comparison.csv")
    assert trial_gains(read) == trial_gains(table)


def named(figure, name):
    (trace,) = (trace for trace in figure.data if trace.name == name)
    return trace


def test_the_best_trial_is_at_the_top_with_its_interval_and_the_control_is_the_line(trials):
    table = tabulate(trials)
    figure = trial_gains(table)
    trace, kd = named(figure, "gain"), table.loc["kd"]
    assert list(figure.layout.yaxis.ticktext) == ["born_again", "kd"]
    assert trace.y[1] > trace.y[0]
    assert trace.x[1] == pytest.approx(100 * kd["gain"])
    assert trace.x[1] + trace.error_x.array[1] == pytest.approx(100 * kd["gain_high"])
    assert trace.x[1] - trace.error_x.arrayminus[1] == pytest.approx(100 * kd["gain_low"])
    assert [shape.x0 for shape in figure.layout.shapes] == [0]
    assert "Gain over plain" in figure.layout.title.text
    assert [note.text for note in figure.layout.annotations] == ["+0.10", "+0.77"]


def test_a_dot_is_filled_only_where_the_interval_excludes_zero(trials):
    trials["sure"] = {seed: record(value + 0.01) for seed, value in enumerate(PLAIN)}
    figure = trial_gains(tabulate(trials))
    colours = dict(
        zip(figure.layout.yaxis.ticktext, named(figure, "gain").marker.color, strict=True)
    )
    assert colours["born_again"] == colours["kd"] == figure.layout.paper_bgcolor
    assert colours["sure"] != figure.layout.paper_bgcolor


def test_another_control_is_named_beside_its_trial(trials):
    figure = trial_gains(tabulate(trials, born_again="kd"))
    assert "born_again, over kd" in figure.layout.yaxis.ticktext


def test_all_intervals_and_the_line_are_in_the_figure(trials):
    low, high = trial_gains(tabulate(trials)).layout.xaxis.range
    kd = tabulate(trials).loc["kd"]
    assert low < min(0, 100 * kd["gain_low"])
    assert high > 100 * kd["gain_high"]


def test_a_control_alone_is_said_to_have_no_gain(trials):
    figure = trial_gains(tabulate({"plain": trials["plain"]}))
    assert [note.text for note in figure.layout.annotations] == ["Gain over plain not measured"]


def test_a_table_without_a_column_is_refused_by_name(trials):
    with pytest.raises(ValueError, match=r"comparison of trials table lacks the columns \['gain'"):
        trial_gains(tabulate(trials).drop(columns="gain"))


def test_names_are_shown_literally_and_the_figure_survives_its_file(trials):
    trials["<script>"] = trials.pop("kd")
    figure = trial_gains(tabulate(trials))
    content = json.dumps(figure.to_dict(), default=str)
    assert "<script>" not in content
    read = plotly.io.from_json(figure.to_json())
    assert json.loads(read.to_json()) == json.loads(figure.to_json())
