"""Renders sections as one HTML file that needs nothing else, not even a network.

Knows HTML and colours, not what the sections say.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from model_compression.reporting.palette import DARK, LIGHT, stage_colours
from model_compression.reporting.sections import Chart, Gallery, Section

PLOTLY = "plotly-cartesian.min.js"
"""plotly.js for flat charts, of the version that the Python package writes figures for: less than a
third of the whole, which every report would carry."""

TRACES = frozenset(
    {
        "bar",
        "box",
        "contour",
        "heatmap",
        "histogram",
        "histogram2d",
        "histogram2dcontour",
        "image",
        "pie",
        "scatter",
        "scatterternary",
        "violin",
    }
)
"""What it can draw."""


@dataclass(frozen=True)
class KeyFigure:
    """One of the few numbers at the top of the page."""

    name: str
    value: str
    meaning: str


def render_page(
    title: str,
    sections: Sequence[Section],
    *,
    summary: str,
    advice: str = "",
    key_figures: Sequence[KeyFigure] = (),
    warnings: Sequence[str] = (),
    facts: Sequence[str] = (),
    stages: Sequence[str] = (),
) -> str:
    """One HTML document with its styles, its script and plotly inside.

    Every text is escaped. The page declares that it may load nothing from anywhere, and a browser
    holds it to that.

    Args:
        title: The document's title.
        sections: In their order; names must differ.
        summary: What a reader reads first.
        advice: What follows from it, in a line below.
        key_figures: Shown large under the summary.
        warnings: Shown under the key figures.
        facts: Short texts for the line under the title (a date, a version).
        stages: All stages, so that each has one colour.

    Raises:
        ValueError: If two sections have the same name, or a chart is of a kind that the page
            cannot draw.
    """
    names = [section.name for section in sections]
    if len(set(names)) < len(names):
        raise ValueError(f"The sections of a page need different names, got {names}.")
    for chart in _charts(sections):
        unknown = {str(trace.type) for trace in chart.figure.data} - TRACES
        if unknown:
            raise ValueError(
                f"The page's plotly draws {sorted(TRACES)}, not {sorted(unknown)} as in the chart "
                f"{chart.description!r}: use one of the former."
            )
    template = _environment().get_template("report.html.jinja")
    return template.render(
        title=title,
        summary=summary,
        advice=advice,
        key_figures=key_figures,
        warnings=warnings,
        facts=facts,
        sections=sections,
        colours=stage_colours(stages),
        light=LIGHT,
        dark=DARK,
        exchange=dict(zip(LIGHT, DARK, strict=True)),
        plotly=Markup(plotly_js().replace("</script", "<\\/script")),
    )


def plotly_js() -> str:
    """The part of plotly.js that is embedded."""
    return (files("model_compression.reporting") / "assets" / PLOTLY).read_text("utf-8")


def _charts(sections: Iterable[Section]) -> Iterable[Chart]:
    for section in sections:
        for block in section.blocks:
            if isinstance(block, Gallery):
                yield from block.charts
            elif isinstance(block, Chart):
                yield block


def figure_json(figure: go.Figure) -> Markup:
    """A figure as JSON that is safe inside a ``script`` element."""
    escapes: Mapping[str, str] = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}
    text: str = figure.to_json()
    for character, escape in escapes.items():
        text = text.replace(character, escape)
    return Markup(text)


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("model_compression.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = {"figure_json": figure_json}
    environment.filters.update(filters)
    return environment
