"""Renders sections as one HTML file that needs nothing else, not even a network.

Knows HTML and colours, not what the sections say.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from model_compression.reporting.palette import DARK, LIGHT, stage_colours
from model_compression.reporting.sections import Section


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
        key_figures: Shown large under the summary.
        warnings: Shown under the key figures.
        facts: Short texts for the line under the title (a date, a version).
        stages: All stages, so that each has one colour.

    Raises:
        ValueError: If two sections have the same name.
    """
    names = [section.name for section in sections]
    if len(set(names)) < len(names):
        raise ValueError(f"The sections of a page need different names, got {names}.")
    template = _environment().get_template("report.html.jinja")
    return template.render(
        title=title,
        summary=summary,
        key_figures=key_figures,
        warnings=warnings,
        facts=facts,
        sections=sections,
        colours=stage_colours(stages),
        light=LIGHT,
        dark=DARK,
        exchange=dict(zip(LIGHT, DARK, strict=True)),
        plotly=Markup(get_plotlyjs().replace("</script", "<\\/script")),
    )


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
