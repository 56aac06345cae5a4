"""What a report is made of: sections with blocks, as plain data that a page can render.

Knows neither HTML nor what the sections say. A new kind of result becomes a new ``Section``.
"""

import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pandas as pd
import plotly.graph_objects as go

from model_compression.reporting import units


@dataclass(frozen=True)
class Cell:
    """A table's cell: what it says, and in a second, smaller line what that means."""

    text: str
    detail: str = ""
    stage: str = ""
    """The stage whose colour marks the cell."""
    wraps: bool = False
    """Whether the text may go over several lines, as a long name may and a number may not."""


@dataclass(frozen=True)
class Table:
    """Rows of cells, the first of each row naming it.

    On a narrow screen the rows of a ``stacked`` table become cards; another one scrolls sideways
    under its first column.
    """

    kind: ClassVar[str] = "table"
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    stacked: bool = False

    def __post_init__(self) -> None:
        """Checks that every row fills the head.

        Raises:
            ValueError: Naming the first row that does not.
        """
        for row in self.rows:
            if len(row) != len(self.head):
                raise ValueError(
                    f"A table with the columns {self.head} got a row of {len(row)} cells: "
                    f"{[cell.text for cell in row]}."
                )


@dataclass(frozen=True)
class Chart:
    """A figure; the description says in words what it shows, for those who cannot see it."""

    kind: ClassVar[str] = "chart"
    figure: go.Figure
    description: str
    note: str = ""


@dataclass(frozen=True)
class Gallery:
    """Charts side by side where there is room, and below each other where there is none."""

    kind: ClassVar[str] = "gallery"
    charts: tuple[Chart, ...]


@dataclass(frozen=True)
class Facts:
    """Terms and their values."""

    kind: ClassVar[str] = "facts"
    items: Mapping[str, str]
    title: str = ""


@dataclass(frozen=True)
class Code:
    """Text to copy, as it is."""

    kind: ClassVar[str] = "code"
    text: str


@dataclass(frozen=True)
class Picture:
    """A small image with what it is said to show."""

    png: bytes
    """A PNG file's content."""
    description: str
    """What it is, for those who cannot see it."""
    title: str
    lines: Mapping[str, str]
    """Who says what of it."""

    @property
    def address(self) -> str:
        """The image itself as a ``data:`` address, so that a page needs no other file."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode('ascii')}"


@dataclass(frozen=True)
class Pictures:
    """Small images in as many columns as there is room for."""

    kind: ClassVar[str] = "pictures"
    pictures: tuple[Picture, ...]
    title: str = ""
    caption: str = ""


Block = Table | Chart | Gallery | Facts | Code | Pictures


@dataclass(frozen=True)
class Section:
    """A part of the report under a title, with a sentence or two on how to read it."""

    name: str
    """Lower-case letters, digits and hyphens: the section's address in the page."""
    title: str
    lead: str = ""
    blocks: tuple[Block, ...] = field(default=())

    def __post_init__(self) -> None:
        """Checks the name.

        Raises:
            ValueError: If it cannot be an address in the page.
        """
        if not re.fullmatch(r"[a-z][a-z0-9-]*", self.name):
            raise ValueError(
                f"A section's name has lower-case letters, digits and hyphens, got {self.name!r}."
            )


def table_of(
    frame: pd.DataFrame,
    formats: Mapping[str, Callable[[Any], str]] | None = None,
    *,
    caption: str = "",
    stacked: bool = False,
) -> Table:
    """A table of a DataFrame's columns, with a function for each column that needs words.

    Args:
        frame: Its index is left out.
        formats: By column; others are shown by ``str``, missing values as a dash.
        caption: What the table says.
        stacked: Whether its rows become cards on a narrow screen.
    """
    formats = formats or {}

    def words(column: str, value: Any) -> Cell:
        return Cell(units.MISSING if pd.isna(value) else formats.get(column, str)(value))

    columns = [str(column) for column in frame.columns]
    return Table(
        head=tuple(columns),
        rows=tuple(
            tuple(words(column, value) for column, value in zip(columns, row, strict=True))
            for row in frame.itertuples(index=False)
        ),
        caption=caption,
        stacked=stacked,
    )
