"""The colours: one for each stage, and the neutrals for light and for dark pages.

Knows no figure and no page.
"""

from collections.abc import Iterable
from typing import NamedTuple


class Neutrals(NamedTuple):
    """The colours that carry no meaning of their own."""

    paper: str
    """The background."""
    surface: str
    """A background that sets something apart."""
    ink: str
    """Text and numbers."""
    muted: str
    """What is read second: axes, captions."""
    rule: str
    """Lines that only separate."""


LIGHT = Neutrals(paper="#ffffff", surface="#f6f7f8", ink="#1b1f24", muted="#5d6570", rule="#dfe2e6")
DARK = Neutrals(paper="#14171b", surface="#1c2025", ink="#e8eaed", muted="#9da5b0", rule="#30363d")

# After Okabe and Ito (2008), the purple darkened: told apart with every common colour blindness
# (CIE76 difference of at least 16 after Machado's simulation); each has a contrast of at least 3:1
# with both papers, as WCAG 2.2 asks of the marks in a chart.
_STAGES = {
    "teacher": "#0072b2",
    "student": "#b8548c",
    "pruned": "#009e73",
    "quantized": "#d55e00",
}
_OTHERS = ("#8a7a00", "#7b6cd9", "#7a828c")
# A filled cell is a stage's colour at this opacity, so that ink has a contrast of at least 4.5:1
# with it on both papers, as WCAG 2.2 asks of small text.
_CELL_OPACITY = 0.7
_SYMBOLS = {
    "teacher": "circle",
    "student": "square",
    "pruned": "diamond",
    "quantized": "triangle-up",
}
_OTHER_SYMBOLS = ("pentagon", "hexagon", "star")


def stage_colours(stages: Iterable[str]) -> dict[str, str]:
    """A colour for every stage: always the same for the four known ones."""
    return _assign(stages, _STAGES, _OTHERS)


def cell_scale(stage: str) -> list[tuple[float, str]]:
    """From an empty cell to a full one in a stage's colour; ink is readable on all between them.

    A plotly colour scale of two colours, of which a page exchanges the neutral one.
    """
    colour = stage_colours([stage])[stage]
    red, green, blue = (int(colour[digit : digit + 2], 16) for digit in (1, 3, 5))
    return [(0, LIGHT.surface), (1, f"rgba({red}, {green}, {blue}, {_CELL_OPACITY})")]


def stage_symbols(stages: Iterable[str]) -> dict[str, str]:
    """A plotly marker symbol for every stage, for those who see no colours or print in grey."""
    return _assign(stages, _SYMBOLS, _OTHER_SYMBOLS)


def _assign(
    stages: Iterable[str], known: dict[str, str], others: tuple[str, ...]
) -> dict[str, str]:
    chosen: dict[str, str] = {}
    strangers = 0
    for stage in stages:
        if stage in known:
            chosen[stage] = known[stage]
        elif stage not in chosen:
            chosen[stage] = others[strangers % len(others)]
            strangers += 1
    return chosen
