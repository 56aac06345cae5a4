"""Gives the datasets of each stage that stage's colour in Kedro-Viz, the same as in the report.

Knows Kedro-Viz's ``.viz/styles.json``; the colours are the report's. Kedro-Viz 12.5 looks up a step
by its name without its namespace, so the four steps called ``train`` could only be coloured alike,
and it has no style for a folded namespace: therefore datasets only.
"""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines
from kedro.pipeline import Pipeline

from model_compression.files import atomic_write
from model_compression.reporting.palette import DARK, LIGHT, stage_colours

logger = logging.getLogger(__name__)

_TINT = 0.18
"""The share of a stage's colour in a light fill: dark text stays well above WCAG's 4.5 : 1."""
_SHADE = 0.45
"""The same in a dark fill, under light text."""


class GraphColours:
    """A hook: leaves the colours beside the statistics that Kedro-Viz's own hook leaves."""

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any]) -> None:
        """Writes the file anew; a run does not fail because its graph stays grey."""
        try:
            write_styles(Path(run_params["project_path"]), pipelines)
        except OSError as error:
            logger.warning("Kedro-Viz will show no stage colours: %s", error)


def write_styles(project: Path, named: Mapping[str, Pipeline]) -> Path:
    """Writes `.viz/styles.json` for all pipelines of a project.

    Args:
        project: The project's folder.
        named: Its pipelines by name.

    Returns:
        The file.
    """
    path = project / ".viz" / "styles.json"
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(styles(named), indent=1) + "\n")
    return path


def styles(named: Mapping[str, Pipeline]) -> dict[str, dict[str, Any]]:
    """Kedro-Viz's style of every dataset that belongs to a stage, by the dataset's name.

    Args:
        named: Pipelines by name. A namespace of their nodes is a stage.
    """
    stage_of = {
        dataset: node.namespace
        for pipeline in named.values()
        for node in pipeline.nodes
        for dataset in (*node.inputs, *node.outputs)
        if node.namespace and dataset.startswith(f"{node.namespace}.")
    }
    colours = stage_colours(dict.fromkeys(stage_of.values()))
    return {dataset: _style(colours[stage]) for dataset, stage in sorted(stage_of.items())}


def _style(colour: str) -> dict[str, Any]:
    light = {"fill": _mix(colour, LIGHT.paper, _TINT), "stroke": colour, "color": LIGHT.ink}
    dark = {"fill": _mix(colour, DARK.paper, _SHADE), "stroke": colour, "color": DARK.ink}
    return {**light, "themes": {"light": light, "dark": dark}}


def _mix(colour: str, paper: str, share: float) -> str:
    """The colour that a layer of ``colour`` of that opacity has on ``paper``, as ``#rrggbb``."""
    pairs = (
        (int(c, 16), int(p, 16)) for c, p in zip(_channels(colour), _channels(paper), strict=True)
    )
    return "#" + "".join(
        f"{round(share * over + (1 - share) * under):02x}" for over, under in pairs
    )


def _channels(colour: str) -> tuple[str, str, str]:
    return colour[1:3], colour[3:5], colour[5:7]
