"""The chapter on generalisation: what it says, and what it draws."""

import io
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from model_compression.evaluation import CORRUPTIONS
from model_compression.reporting import Pictures, render_report
from model_compression.reporting.figures.class_changes import class_changes_figure
from model_compression.reporting.figures.corruptions import corruption_figure, severity_heatmap
from model_compression.reporting.figures.reliability import reliability_figure
from model_compression.reporting.generalisation import generalisation_section
from model_compression.reporting.recommendation import recommend
from model_compression.reporting.units import MISSING, SPACE

CLASSES = ("bag", "coat", "shirt")


def corruptions(clean: float, loss: float) -> pd.DataFrame:
    rows = [("none", "none", 0, 1000, clean)]
    for number, (name, family) in enumerate(CORRUPTIONS.items()):
        rows += [
            (name, family, level, 1000, clean - loss * level * (1 + number) / 75)
            for level in range(1, 6)
        ]
    return pd.DataFrame(rows, columns=["corruption", "family", "severity", "images", "accuracy"])


def reliability(gap: float) -> pd.DataFrame:
    edges = np.arange(16) / 15
    middle = (edges[1:] + edges[:-1]) / 2
    images = np.array([0] * 5 + [10] * 9 + [910])
    accuracy = np.where(images > 0, np.clip(middle - gap, 0, 1), np.nan)
    return pd.DataFrame(
        {
            "low": edges[:-1],
            "high": edges[1:],
            "images": images,
            "confidence": np.where(images > 0, middle, np.nan),
            "accuracy": accuracy,
            "accuracy_low": accuracy - 0.02,
            "accuracy_high": accuracy + 0.02,
        }
    )


@pytest.fixture
def measured() -> SimpleNamespace:
    buffer = io.BytesIO()
    Image.new("L", (28, 28), 90).save(buffer, "PNG")
    comparison = pd.DataFrame(
        {
            "stage": ["teacher", "quantized"],
            "corrupted_images": [1000, 1000],
            "uncorrupted_accuracy": [0.94, 0.92],
            "mean_corruption_accuracy": [0.71, 0.655],
            "mce": [1.0, 1.234],
            "training_images": [2000, 2000],
            "training_images_accuracy": [0.99, 0.95],
            "train_test_gap": [0.05, 0.03],
            "train_test_gap_low": [0.044, -0.002],
            "train_test_gap_high": [0.056, 0.041],
            "disagreement": [0.0, 0.052],
        }
    )
    changes = pd.DataFrame(
        {
            "stage": ["quantized"] * 3,
            "class": list(CLASSES),
            "change": [0.01, 0.0, -0.07],
            "p_value": [0.4, 1.0, 0.003],
        }
    )
    differing = pd.DataFrame(
        {
            "index": [17, 4],
            "label": [0, 2],
            "reference": [0, 1],
            "reference_confidence": [0.98, 0.7],
            "stage": [1, 2],
            "stage_confidence": [0.91, 0.8],
        }
    )
    return SimpleNamespace(
        comparison=comparison,
        corruptions={"teacher": corruptions(0.94, 0.4), "quantized": corruptions(0.92, 0.5)},
        reliabilities={"teacher": reliability(0.02), "quantized": reliability(0.05)},
        evaluations={
            "teacher": {"accuracy": 0.94, "ece": 0.02},
            "quantized": {"accuracy": 0.92, "ece": 0.031},
        },
        changes=changes,
        differing=differing,
        pictures=[buffer.getvalue()] * 2,
        classes=CLASSES,
        recommended="quantized",
    )


def overview(measured) -> list[list[str]]:
    table = generalisation_section(**vars(measured)).blocks[0]
    return [[cell.text.replace(SPACE, " ") for cell in row] for row in table.rows]


def test_the_overview_reads_in_words(measured):
    teacher, quantized = overview(measured)
    assert teacher == ["teacher", "71.0%", "reference", "2.0%", "+5.00 pp", "99.0%", "reference"]
    assert quantized == ["quantized", "65.5%", "1.23", "3.1%", "+3.00 pp", "95.0%", "5.2%"]
    table = generalisation_section(**vars(measured)).blocks[0]
    assert table.rows[1][4].detail == f"\u22120.20 to +4.10{SPACE}pp"
    measured.comparison["mce"] = np.nan
    assert overview(measured)[1][2] == MISSING


def test_all_corruptions_are_drawn_for_all_stages(measured):
    figure = corruption_figure(measured.corruptions)
    assert [trace.name for trace in figure.data] == ["teacher", "quantized"]
    assert figure.layout.yaxis.ticktext[0] == "clean"
    assert len(figure.layout.yaxis.ticktext) == 16
    table = measured.corruptions["quantized"]
    fog = table.loc[table["corruption"] == "fog", "accuracy"].mean()
    assert figure.data[1].x[list(figure.layout.yaxis.ticktext).index("fog")] == pytest.approx(fog)


def test_the_note_names_the_worst_and_the_best(measured):
    note = generalisation_section(**vars(measured)).blocks[1].note.replace(SPACE, " ")
    # The losses grow with the corruption's number, and the mean severity is 3.
    assert "the quantized file does worst under JPEG (\u221230.00 pp)" in note
    assert "best under gaussian noise (\u22122.00 pp)" in note


def test_the_heat_map_shows_accuracy_and_colours_what_is_lost(measured):
    table = measured.corruptions["quantized"]
    (heat,) = severity_heatmap(table, "quantized").data
    assert np.array(heat.z).shape == (15, 5)
    last = table.iloc[-1]
    assert heat.text[14][4] == f"{100 * last['accuracy']:.0f}"
    assert heat.z[14][4] == pytest.approx(np.sqrt(0.92 - last["accuracy"]), abs=1e-3)
    better = table.assign(accuracy=table["accuracy"].where(table["severity"] == 0, 0.99))
    assert np.all(np.array(severity_heatmap(better, "quantized").data[0].z) == 0)


def test_reliability_leaves_empty_bins_out_and_sizes_marks_by_images(measured):
    line, marks = reliability_figure({"quantized": measured.reliabilities["quantized"]}).data
    assert (line.x, line.y) == ((0, 1), (0, 1))
    assert len(marks.x) == 10
    assert not np.isnan(marks.y).any()
    assert marks.marker.size[-1] == max(marks.marker.size) > marks.marker.size[0]


def test_changes_that_chance_may_make_are_outlines(measured):
    (trace,) = class_changes_figure(measured.changes).data
    figure = class_changes_figure(measured.changes)
    assert list(figure.layout.yaxis.ticktext) == ["shirt", "bag", "coat"]
    assert list(trace.x) == pytest.approx([-7, 1, 0])
    assert [symbol.endswith("-open") for symbol in trace.marker.symbol] == [False, True, True]


def test_without_a_second_stage_nothing_is_compared(measured):
    for mapping in (measured.corruptions, measured.reliabilities, measured.evaluations):
        del mapping["quantized"]
    measured.comparison, measured.changes = measured.comparison[:1], measured.changes[:0]
    measured.recommended = "teacher"
    section = generalisation_section(**vars(measured))
    assert not any(isinstance(block, Pictures) for block in section.blocks)
    assert len(section.blocks) == 4


def test_note_and_pictures_are_of_the_recommended_file_and_not_of_the_last(measured):
    measured.corruptions = {
        "teacher": corruptions(0.94, 0.4),
        "pruned": corruptions(0.93, 0.1),
        "quantized": corruptions(0.92, 0.5),
    }
    measured.recommended = "pruned"
    blocks = generalisation_section(**vars(measured)).blocks
    note = blocks[1].note.replace(SPACE, " ")
    assert "the pruned file does worst under JPEG (\u22126.00 pp)" in note
    assert blocks[-1].title == "Where teacher and pruned disagree"
    assert blocks[-1].pictures[0].lines["pruned"] == "coat, 91%"


def test_a_table_of_something_else_is_refused(measured):
    with pytest.raises(ValueError, match="corruptions table lacks"):
        corruption_figure({"teacher": pd.DataFrame({"severity": [0]})})
    with pytest.raises(ValueError, match="reliability table lacks"):
        reliability_figure({"teacher": pd.DataFrame({"images": [1]})})
    with pytest.raises(ValueError, match="class changes table lacks"):
        class_changes_figure(pd.DataFrame({"stage": []}))


def test_each_disagreement_says_who_is_right(measured):
    pictures = generalisation_section(**vars(measured)).blocks[-1]
    first, second = pictures.pictures
    assert first.title == "bag"
    assert first.lines == {"teacher": "\u2713 bag, 98%", "quantized": "coat, 91%"}
    assert second.lines == {"teacher": "coat, 70%", "quantized": "\u2713 shirt, 80%"}
    assert "teacher is right on 1, quantized on 1, neither on 0" in pictures.caption
    assert "a bag; teacher says bag, quantized coat" in first.description


def test_the_chapter_is_part_of_the_page_and_its_pictures_are_inside(measured, run):
    section = generalisation_section(**vars(measured))
    page = render_report(
        run.evaluations, run.histories, run.latency, run.confusions,
        recommend(run.evaluations, run.latency), run.provenance,
        more_sections=[section],
    )  # fmt: skip
    assert '<section id="generalisation">' in page
    assert page.count('<img src="data:image/png;base64,') == 2
    assert 'alt="Test image 17, a bag; teacher says bag, quantized coat."' in page


def test_hostile_class_names_stay_text(measured, run):
    measured.classes = ('"><script>alert(1)</script>', "b", "c")
    measured.changes["class"] = list(measured.classes)
    section = generalisation_section(**vars(measured))
    page = render_report(
        run.evaluations, run.histories, run.latency, run.confusions,
        recommend(run.evaluations, run.latency), run.provenance,
        more_sections=[section],
    )  # fmt: skip
    assert "<script>alert" not in page
