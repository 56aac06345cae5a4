import json
import re
from html.parser import HTMLParser

import pandas as pd
import plotly.graph_objects as go
import pytest
from plotly.offline import get_plotlyjs_version

from model_compression.reporting import (
    Cell,
    Chart,
    Code,
    Facts,
    Gallery,
    Section,
    Table,
    render_report,
    table_of,
)
from model_compression.reporting.chapters import comparison_in_words, reproduction_section
from model_compression.reporting.comparison import comparison_table
from model_compression.reporting.details import details_section
from model_compression.reporting.page import TRACES, plotly_js, render_page
from model_compression.reporting.recommendation import recommend
from model_compression.reporting.units import MISSING, SPACE


class Page(HTMLParser):
    """What a browser would see: elements with their attributes, texts, and script contents."""

    def __init__(self, document):
        super().__init__()
        self.elements, self.open, self.scripts, self.text = [], [], [], ""
        self.feed(document)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.open.append(tag)
        if tag == "script":
            self.scripts.append((dict(attributes), ""))

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        if self.open[-1:] == ["script"]:
            attributes, content = self.scripts[-1]
            self.scripts[-1] = (attributes, content + data)
        elif self.open[-1:] != ["style"]:
            self.text += data

    @property
    def figures(self):
        return [json.loads(text) for attributes, text in self.scripts if "type" in attributes]


def render(run, **options):
    return render_report(
        run.evaluations,
        run.histories,
        run.latency,
        run.confusions,
        recommend(run.evaluations, run.latency),
        run.provenance,
        **options,
    )


def words_of(run):
    table = comparison_table(run.evaluations, run.latency)
    return comparison_in_words(table, run.evaluations, "quantized")


@pytest.fixture(scope="module")
def document(sample):
    return render(sample.run())


@pytest.fixture(scope="module")
def page(document):
    return Page(document)


def test_plotly_is_inside_exactly_once_in_the_version_that_wrote_the_figures(document):
    assert re.findall(r"plotly\.js \(cartesian - minified\) v([\d.]+)", document) == [
        get_plotlyjs_version()
    ]


def test_the_embedded_plotly_draws_what_the_page_says_it_does():
    assert set(re.findall(r'moduleType:"trace",name:"(\w+)"', plotly_js())) == TRACES


def test_a_chart_that_the_embedded_plotly_cannot_draw_is_refused():
    chart = Chart(go.Figure(go.Scattergl(x=[1], y=[1])), "Points")
    with pytest.raises(ValueError, match=r"not \['scattergl'\] as in the chart 'Points'"):
        render_page("t", [Section("a", "A", blocks=(Gallery((chart,)),))], summary="s")


def test_a_report_is_small_enough_to_be_sent(document):
    assert len(document.encode()) < 2_000_000


def test_nothing_is_loaded_from_anywhere(document, page):
    policy = next(a["content"] for t, a in page.elements if a.get("http-equiv"))
    assert policy.startswith("default-src 'none'; ")
    assert "http" not in policy
    for tag, attributes in page.elements:
        assert tag not in {"link", "iframe", "img", "object", "base"}
        assert "src" not in attributes
        assert attributes.get("href", "#").startswith("#")
    styles = document.partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in styles
    assert "@import" not in styles


def test_the_verdict_is_what_one_reads_first(page):
    text = page.text.replace(SPACE, " ")
    assert text.index("The quantized resnet8 is 23.6") < text.index("Comparison")
    assert ("h1", {}) in page.elements
    advice = text.index("Ship the quantized file.")
    assert text.index("McNemar") < advice < text.index("Comparison")


def test_verdict_and_key_figures_are_those_of_the_file_to_ship(run):
    run.latency.loc[run.latency["stage"] == "quantized", "latency_ms"] *= 10
    text = Page(render(run)).text.replace(SPACE, " ")
    assert "The pruned resnet8 is 6.65\u00d7 smaller than the teacher" in text
    assert "1.10 MB \u2192 166 kB" in text
    assert "resnet8, recommended" in text


def test_every_chart_is_described_in_words_and_parses(page):
    plots = [a for _, a in page.elements if a.get("class") == "plot"]
    assert len(plots) == len(page.figures) == 13
    assert all(len(a["aria-label"]) > 20 for a in plots)
    for figure in page.figures:
        go.Figure(figure)


def test_titles_of_charts_fit_on_a_phone(page):
    """Plotly wraps no title; 320 pixels hold some forty letters of it."""
    titles = [figure["layout"]["title"]["text"] for figure in page.figures]
    assert all(len(re.sub("<[^>]+>", "", title)) <= 42 for title in titles), titles


def test_sections_can_be_reached_by_their_address(page):
    ids = [a["id"] for t, a in page.elements if t == "section"]
    links = [a["href"] for t, a in page.elements if t == "a"]
    assert links == [f"#{name}" for name in ids]
    assert ids == [
        "comparison",
        "trade-off",
        "latency",
        "training",
        "classes",
        "details",
        "reproduction",
    ]


def test_the_page_is_made_for_phones_for_the_dark_and_for_paper(document, page):
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in (
        page.elements
    )
    assert "prefers-color-scheme: dark" in document
    assert "@media print" in document
    cells = [a for t, a in page.elements if t == "td" and a.get("data-name") == "Accuracy"]
    assert len(cells) == 4


def test_every_table_scrolls_in_its_own_box_or_becomes_cards(page):
    """A table that was wider than a phone would otherwise take the whole page with it."""
    boxes = {"table wide", "table stacked"}
    around = None
    for tag, attributes in page.elements:
        if tag == "div":
            around = attributes.get("class")
        assert tag != "table" or around in boxes


HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"


def test_hostile_names_stay_text(run):
    plain = Page(render(run))
    for table in run.confusions.values():
        table.index = table.columns = [HOSTILE, *table.columns[1:]]
    for values in (run.evaluations, run.histories, run.confusions):
        values[HOSTILE] = values.pop("quantized")
    run.latency["stage"] = run.latency["stage"].replace("quantized", HOSTILE)
    run.evaluations["student"]["architecture"] = HOSTILE
    run.provenance |= {"command": HOSTILE, HOSTILE: HOSTILE, "versions": {HOSTILE: HOSTILE}}
    hostile = Page(render(run, title=HOSTILE))
    assert len(hostile.scripts) == len(plain.scripts)
    assert not any(tag == "img" or "onerror" in a for tag, a in hostile.elements)
    assert len(hostile.figures) == len(plain.figures)
    assert HOSTILE in hostile.text


def test_more_sections_come_before_the_details(run):
    section = Section(
        "corruptions",
        "Corruptions",
        "Noise and blur.",
        (
            Chart(go.Figure(), "An empty chart", note="A note"),
            table_of(
                pd.DataFrame({"noise": ["fog", None], "accuracy": [0.5, float("nan")]}),
                {"accuracy": lambda value: f"{value:.0%}"},
                caption="By noise",
            ),
            Facts({"seed": "0"}, title="Settings"),
            Code("kedro run"),
        ),
    )
    page = Page(render(run, more_sections=[section]))
    ids = [a["id"] for t, a in page.elements if t == "section"]
    assert ids.index("corruptions") == ids.index("details") - 1
    for text in ("A note", "fog", "50%", MISSING, "By noise", "Settings", "kedro run"):
        assert text in page.text


def test_the_page_says_which_file_to_ship(run):
    assert "Ship the quantized file." in Page(render(run)).text
    run.latency.loc[run.latency["stage"] == "quantized", "latency_ms"] *= 10
    assert "Ship the pruned file." in Page(render(run)).text


def test_parts_without_data_are_left_out(run):
    run.histories, run.confusions = {}, {}
    run.evaluations = {"teacher": run.evaluations["teacher"]}
    page = Page(render(run))
    ids = [a["id"] for t, a in page.elements if t == "section"]
    assert ids == ["comparison", "trade-off", "latency", "details", "reproduction"]
    assert not any(a.get("class") == "key" for _, a in page.elements)
    assert "nothing to compare yet" in page.text


def test_warnings_are_on_the_page(run):
    run.evaluations["quantized"]["fused_layers"] = 7
    assert "Only 7 of the 10 quantizable layers" in Page(render(run)).text


def test_unknown_numbers_are_no_key_figures(run):
    run.evaluations["quantized"]["file_bytes"] = None
    page = Page(render(run))
    assert [t for t, _ in page.elements].count("dt") == 2 + sum(
        len(v) if isinstance(v, dict) else 1 for k, v in run.provenance.items() if k != "command"
    )
    assert "nan" not in re.findall(r"\w+", page.text)


def test_the_comparison_reads_in_words(run):
    table = words_of(run)
    teacher, *_, quantized = ([c.text.replace(SPACE, " ") for c in row] for row in table.rows)
    assert teacher[:4] == ["teacher", "94.30%", "reference", "1.10 MB"]
    assert quantized[:7] == [
        "quantized", "91.90%", "\u22122.40 pp", "46.7 kB", "37.0 kB", "40.1k", "4.87M",
    ]  # fmt: skip
    assert [cell.detail for cell in table.rows[0]][3] == ""
    assert table.rows[-1][3].detail == "23.6\u00d7 smaller"
    assert [row[0].detail for row in table.rows] == [
        "resnet20", "resnet8", "resnet8", "resnet8, recommended",
    ]  # fmt: skip
    assert [row[2].detail for row in table.rows] == [
        "",
        "\u22122.02 to \u22121.18",
        "\u22122.71 to \u22121.83",
        "\u22122.82 to \u22121.92",
    ]


def test_a_better_and_slower_stage_reads_that_way(run):
    run.evaluations["student"] |= {"accuracy": 0.949, "file_bytes": 1_102_340}
    run.latency.loc[run.latency["stage"] == "student", "latency_ms"] *= 10
    row = words_of(run).rows[1]
    assert row[2].text == f"+0.60{SPACE}pp"
    assert row[3].detail == "same size"
    assert row[7].detail.endswith("slower")


def test_many_zeros_are_shown_and_chance_zeros_are_not(run):
    run.evaluations["pruned"]["nonzero_parameters"] = 8_000
    rows = words_of(run).rows
    assert rows[2][5].detail == "8.00k not zero"
    assert rows[3][5].detail == ""


def details(run):
    (table,) = details_section(run.evaluations).blocks
    return {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}


def test_the_details_prove_the_numbers(run):
    rows = details(run)
    assert rows["Layers in int8"] == ["none: float"] * 3 + ["10 of 10"]
    assert rows["File agrees with module"] == ["100.00%"] * 3 + ["99.91%"]
    assert rows["Largest difference"] == ["3.1e-6"] * 3 + ["0.190"]
    assert rows["McNemar test"][0] == MISSING
    assert rows["Only teacher right"][3] == "380"


def test_details_that_nobody_has_are_left_out(run):
    for evaluation in run.evaluations.values():
        for key in ("ece", "fused_layers", "paired", "log_loss", "max_logit_difference"):
            evaluation.pop(key, None)
    del run.evaluations["student"]["fingerprint"]
    rows = details(run)
    left_out = {"Calibration error", "Layers in int8", "McNemar test", "Log loss"}
    assert not left_out & set(rows)
    assert rows["Fingerprint"][1] == MISSING


def test_provenance_of_any_shape_is_shown():
    section = reproduction_section(
        {"git_commit": None, "threads": 1, "versions": {"torch": [2, 13]}}
    )
    facts, versions = section.blocks
    assert facts.items == {"Git commit": MISSING, "Threads": "1"}
    assert (versions.title, versions.items) == ("Versions", {"torch": "[2, 13]"})
    assert reproduction_section({}).blocks == ()


def test_sections_and_tables_check_themselves():
    with pytest.raises(ValueError, match="lower-case letters"):
        Section("Not a name", "x")
    with pytest.raises(ValueError, match="row of 1 cells"):
        Table(("a", "b"), ((Cell("x"),),))
    with pytest.raises(ValueError, match="different names"):
        render_page("t", [Section("a", "A"), Section("a", "B")], summary="s")
