import json
import math
from itertools import pairwise

import numpy as np
import pandas as pd
import plotly.io
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_compression.reporting import (
    accuracy_against_latency,
    accuracy_against_macs,
    accuracy_against_size,
    comparison_table,
    confusion_figure,
    latency_distribution,
    recall_by_class,
    sensitivity_heatmap,
    training_curves,
)
from model_compression.reporting.figures.axes import round_ticks
from model_compression.reporting.figures.labels import Mark, place_labels
from model_compression.reporting.figures.tradeoff import pareto_front
from model_compression.reporting.palette import (
    DARK,
    LIGHT,
    cell_scale,
    stage_colours,
    stage_symbols,
)


def named(figure, name):
    (trace,) = (trace for trace in figure.data if trace.name == name)
    return trace


def texts(figure):
    return [annotation.text for annotation in figure.layout.annotations]


@pytest.fixture
def comparison(run):
    return comparison_table(run.evaluations, run.latency)


def luminance(colour):
    shares = channels(colour) / 255
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(first, second):
    dark, light = sorted([luminance(first), luminance(second)])
    return (light + 0.05) / (dark + 0.05)


def test_a_stage_has_the_same_colour_and_mark_in_whatever_company():
    assert (
        stage_colours(["quantized"])["quantized"]
        == stage_colours((*"abc", "quantized"))["quantized"]
    )
    assert stage_symbols(["pruned", "other"])["pruned"] == stage_symbols(["pruned"])["pruned"]
    four = stage_colours(["teacher", "student", "pruned", "quantized", "mine", "yours"])
    assert len(set(four.values())) == 6
    assert stage_colours(["mine", "mine"]) == {"mine": four["mine"]}


def test_colours_are_seen_on_both_papers_and_text_is_readable():
    for neutrals in (LIGHT, DARK):
        stages = ["teacher", "student", "pruned", "quantized", "a", "b", "c"]
        assert all(contrast(c, neutrals.paper) >= 3 for c in stage_colours(stages).values())
        assert contrast(neutrals.ink, neutrals.paper) >= 7
        assert contrast(neutrals.muted, neutrals.surface) >= 4.5


@pytest.mark.parametrize("stage", ["teacher", "student", "pruned", "quantized", "a", "b", "c"])
@pytest.mark.parametrize("neutrals", [LIGHT, DARK])
def test_a_number_is_readable_in_every_cell_however_full(stage, neutrals):
    (_, empty), (_, full) = cell_scale(stage)
    assert empty == LIGHT.surface  # which a dark page exchanges
    *colour, opacity = (float(part) for part in full.removeprefix("rgba(").strip(")").split(","))
    for share in np.linspace(0, 1, 21):
        mixed = (1 - share) * channels(neutrals.surface) + share * np.array(colour)
        covers = 1 - share * (1 - opacity)
        seen = covers * mixed + (1 - covers) * channels(neutrals.paper)
        cell = "#" + "".join(f"{round(channel):02x}" for channel in seen)
        assert contrast(cell, neutrals.ink) >= 4.5


def channels(colour):
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])


def test_the_path_goes_through_the_stages_in_order_with_their_intervals(comparison, run):
    figure = accuracy_against_size(comparison)
    path = named(figure, "path")
    assert list(path.x) == [1_102_340, 316_920, 165_810, 46_720]
    assert list(path.y) == pytest.approx([e["accuracy"] for e in run.evaluations.values()])
    bars = named(figure, "student").error_y
    assert bars.array[0] == pytest.approx(bars.arrayminus[0])
    assert texts(figure) == ["teacher", "student", "pruned", "quantized"]
    assert figure.layout.xaxis.type == "log"


def test_the_size_can_be_that_of_the_packed_file(comparison):
    figure = accuracy_against_size(comparison, "packed_bytes", "Packed")
    assert named(figure, "path").x[-1] == 36_980


def test_latency_has_the_quartiles_as_bars(comparison, run):
    figure = accuracy_against_latency(comparison, run.latency, batch_size=64)
    values = run.latency.query("stage == 'pruned' and batch_size == 64")["latency_ms"]
    trace = named(figure, "pruned")
    assert trace.x[0] == pytest.approx(values.median())
    assert trace.error_x.array[0] == pytest.approx(values.quantile(0.75) - values.median())
    assert trace.error_x.arrayminus[0] == pytest.approx(values.median() - values.quantile(0.25))
    assert "batch of 64" in figure.layout.title.text


def test_stages_without_a_number_are_left_out_of_the_path(comparison, run):
    comparison.loc[1, "accuracy"] = math.nan
    comparison.loc[2, ["accuracy_low", "accuracy_high"]] = math.nan
    figure = accuracy_against_latency(comparison, run.latency[run.latency["stage"] != "quantized"])
    assert texts(figure) == ["teacher", "pruned"]
    assert named(figure, "pruned").error_y.array[0] == 0


def test_figures_without_any_number_say_so(comparison, run):
    nothing = run.latency.iloc[:0]
    assert texts(accuracy_against_latency(comparison, nothing)) == ["Latency not measured"]
    assert texts(training_curves({})) == ["Validation accuracy not measured"]
    assert texts(training_curves({"teacher": [{"epoch": 1}]}, "loss")) == [
        "Validation loss not measured"
    ]
    assert texts(recall_by_class({})) == ["Recall by class not measured"]


def test_a_table_without_the_column_is_refused_by_name(comparison):
    with pytest.raises(ValueError, match=r"comparison table lacks the columns \['file_bytes'\]"):
        accuracy_against_size(comparison.drop(columns="file_bytes"))


def test_one_stage_alone_can_be_drawn(comparison, run):
    alone = comparison.iloc[:1]
    for figure in (accuracy_against_size(alone), accuracy_against_latency(alone, run.latency)):
        low, high = figure.layout.xaxis.range
        assert low < high
        assert len(figure.layout.xaxis.tickvals) >= 1


@given(st.floats(-3, 9), st.floats(0.16, 6))
def test_an_axis_has_a_few_round_ticks_within_its_limits(low, span):
    ticks = round_ticks(10**low, 10 ** (low + span))
    assert 2 <= len(ticks) <= 6
    assert all(b / a >= 10 ** (span / 5) * 0.999 for a, b in pairwise(ticks))
    assert ticks == sorted(ticks)
    assert all(10**low <= tick <= 10 ** (low + span) for tick in ticks)


def test_curves_mark_the_epoch_that_was_kept(run):
    rows = run.histories["teacher"]
    lowest = min(rows, key=lambda row: row["validation_loss"])
    for measure in ("accuracy", "loss"):
        figure = training_curves(run.histories, measure)
        mark = named(figure, "teacher, kept epoch")
        # By the loss also where accuracies are drawn: that is how a stage chooses.
        assert mark.x[0] == lowest["epoch"]
        assert mark.y[0] == lowest[f"validation_{measure}"]
        told = named(training_curves(run.histories, measure, {"teacher": 7}), mark.name)
        assert (told.x[0], told.y[0]) == (7, rows[6][f"validation_{measure}"])
    assert texts(training_curves(run.histories)) == list(run.histories)


def test_an_epoch_of_the_highest_accuracy_is_not_marked_for_it():
    rows = [
        {"epoch": 1, "validation_loss": 0.4, "validation_accuracy": 0.93},
        {"epoch": 2, "validation_loss": 0.3, "validation_accuracy": 0.92},
    ]
    assert named(training_curves({"teacher": rows}), "teacher, kept epoch").x[0] == 2
    unknown = training_curves({"teacher": rows}, kept={"teacher": math.nan})
    assert named(unknown, "teacher, kept epoch").x[0] == 2


def test_marks_are_filled_on_the_pareto_front_alone(comparison):
    comparison["macs"] = [40, 10, 5, 5]
    fills = {
        trace.name: trace.marker.color
        for trace in accuracy_against_macs(comparison).data
        if trace.mode == "markers"
    }
    hollow = {stage for stage, colour in fills.items() if colour == LIGHT.paper}
    # As cheap as the pruned one and less accurate.
    assert hollow == {"quantized"}


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 5)), max_size=6))
def test_a_point_is_on_the_front_unless_another_is_as_good_in_both_and_better_in_one(points):
    for (cost, gain), kept in zip(points, pareto_front(points), strict=True):
        beaten = any((c < cost and g >= gain) or (c <= cost and g > gain) for c, g in points)
        assert kept is not beaten


def test_the_spread_shows_every_turn_against_its_own_stages_median(run):
    figure = latency_distribution(run.latency, list(run.evaluations), 64)
    for stage in run.evaluations:
        rows = run.latency[(run.latency["stage"] == stage) & (run.latency["batch_size"] == 64)]
        times = rows.sort_values("repeat")["latency_ms"]
        box = named(figure, stage)
        assert list(box.x) == pytest.approx(list(times / times.median()))
        assert (box.boxpoints, box.quartilemethod) == ("all", "linear")
    names = [name.replace("\u00a0", " ") for name in figure.layout.yaxis.categoryarray]
    assert names[-1].startswith("teacher<br>25.")
    assert names[-1].endswith(" ms")
    assert texts(latency_distribution(run.latency.iloc[:0], ["teacher"])) == [
        "Latency not measured"
    ]


def test_losses_of_different_objectives_are_not_compared(run):
    names = {trace.name for trace in training_curves(run.histories, "loss").data}
    assert "teacher, training" not in names
    assert "teacher, validation" in names


def test_missing_epochs_leave_gaps_and_a_single_epoch_is_seen(sample):
    rows = sample.history(3, 0.9)
    rows[1]["validation_accuracy"] = None
    figure = training_curves({"teacher": rows, "student": sample.history(1, 0.8)})
    assert named(figure, "teacher, validation").y[1] is None
    assert named(figure, "student, validation").mode == "markers"


def test_losses_above_one_are_not_shown_as_percentages():
    rows = [{"epoch": 1, "validation_loss": 2.3}, {"epoch": 2, "validation_loss": 0.5}]
    trace = named(training_curves({"teacher": rows}, "loss"), "teacher, validation")
    assert list(trace.customdata) == ["2.300", "0.500"]


def test_a_matrix_has_counts_as_text_and_row_shares_as_colour(run, sample):
    confusion = run.confusions["student"]
    heat = named(confusion_figure(confusion, "student"), "student")
    assert heat.text[0][0] == "880"
    assert float(heat.z[6][6]) ** 2 == pytest.approx(0.78, abs=2e-3)
    assert list(heat.x) == list(heat.y) == list(sample.classes)
    assert heat.textfont.color == LIGHT.ink
    assert [list(end) for end in heat.colorscale] == [list(end) for end in cell_scale("student")]


def test_a_class_without_images_has_no_colour(run):
    confusion = run.confusions["student"].copy()
    confusion.iloc[3] = 0
    heat = named(confusion_figure(confusion, "student"), "student")
    assert not any(heat.z[3])
    assert set(heat.text[3]) == {""}


def test_of_very_many_classes_those_with_the_most_errors_are_kept():
    counts = np.diag(np.full(100, 50))
    counts[7, 93] = 40
    names = [f"c{index}" for index in range(100)]
    figure = confusion_figure(pd.DataFrame(counts, names, names), "teacher", largest=2)
    heat = named(figure, "teacher")
    assert list(heat.x) == ["c7", "c93"]
    assert "the 2 of 100 classes with the most errors" in figure.layout.title.text
    many = named(confusion_figure(pd.DataFrame(counts, names, names), "teacher"), "teacher")
    assert many.text is None
    assert len(many.x) == 60


def test_a_matrix_read_without_its_index_is_refused(run):
    with pytest.raises(ValueError, match="index_col=0"):
        confusion_figure(run.confusions["student"].reset_index(), "student")


def test_recall_starts_with_the_class_that_is_hardest_for_the_teacher(run):
    figure = recall_by_class(run.confusions)
    assert figure.layout.yaxis.ticktext[0] == "Shirt"
    assert named(figure, "teacher").x[0] == pytest.approx(0.83)
    assert named(figure, "quantized").x[0] == pytest.approx(0.76)


def test_recall_of_stages_with_other_classes_is_refused(run, sample):
    run.confusions["student"] = sample.confusion([0.9] * 10, 0).iloc[:5, :5]
    with pytest.raises(ValueError, match="teacher and student have different classes"):
        recall_by_class(run.confusions)


@pytest.fixture
def sensitivity() -> pd.DataFrame:
    """Two layers at three ratios; rounding leaves the first whole at the smallest."""
    return pd.DataFrame(
        {
            "layer": ["stem", "stem", "stem", "<b>x</b>", "<b>x</b>", "<b>x</b>"],
            "ratio": [0.1, 0.5, 0.9] * 2,
            "removed": [0.0, 0.5, 0.5, 0.125, 0.5, 0.875],
            "accuracy": [0.9, 0.74, 0.74, 0.91, 0.89, 0.5],
            "accuracy_drop": [0.0, 0.16, 0.16, -0.01, 0.01, 0.4],
        }
    )


def test_a_sensitive_layer_stands_out_and_what_stayed_whole_is_empty(sensitivity):
    heat = named(sensitivity_heatmap(sensitivity), "accuracy lost")
    assert list(heat.y) == ["stem", "&lt;b&gt;x&lt;/b&gt;"]
    assert list(heat.x) == ["10%", "50%", "90%"]
    assert [list(row) for row in heat.text] == [["", "16.0", "16.0"], ["-1.0", "1.0", "40.0"]]
    assert np.isnan(heat.z[0][0])
    assert heat.z[0][1] ** 2 == pytest.approx(0.16)
    assert heat.z[1][0] == 0
    assert heat.customdata[1][2] == "87.5% of it gone: 50.0%"


def test_sensitivities_that_are_not_there_are_said_so_or_refused(sensitivity):
    empty = sensitivity_heatmap(sensitivity.iloc[:0])
    assert "not measured" in empty.layout.annotations[0].text
    with pytest.raises(ValueError, match=r"lacks the columns \['removed'\]"):
        sensitivity_heatmap(sensitivity.drop(columns="removed"))


def test_names_are_shown_literally_and_never_as_markup(run, sample):
    names = ["<script>alert(1)</script>", *sample.classes[1:]]
    confusion = pd.DataFrame(run.confusions["teacher"].to_numpy(), names, names)
    for figure in (
        confusion_figure(confusion, "<b>x</b>"),
        recall_by_class({"<b>x</b>": confusion}),
        training_curves({"<b>x</b>": sample.history(3, 0.9)}),
    ):
        content = json.dumps(figure.to_dict(), default=str)
        assert "<script" not in content
        assert "<b>x</b>" not in content


def test_figures_survive_a_json_file(comparison, run):
    for figure in (
        accuracy_against_size(comparison),
        training_curves(run.histories),
        confusion_figure(run.confusions["teacher"], "teacher"),
        recall_by_class(run.confusions),
    ):
        read = plotly.io.from_json(figure.to_json())
        assert json.loads(read.to_json()) == json.loads(figure.to_json())
        assert read.layout.paper_bgcolor == LIGHT.paper


@given(st.lists(st.tuples(st.floats(70, 200), st.floats(60, 180)), max_size=4))
def test_labels_avoid_each_other_wherever_that_is_possible(points):
    marks = [Mark("student", x, y, y, y) for x, y in points]
    places = place_labels(marks)
    assert len(places) == len(marks)
    for index, place in enumerate(places):
        assert all(place.overlap(other) == 0 for other in places[:index])


def test_a_label_makes_way_for_a_line():
    mark = Mark("student", 135, 120, 120, 120)
    (free,) = place_labels([mark])
    (placed,) = place_labels([mark], [[(0, free.bottom + 5), (270, free.bottom + 5)]])
    assert free.overlap(placed) < (free.right - free.left) * 16
    assert not placed.bottom < free.bottom + 5 < placed.top
