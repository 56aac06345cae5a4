"""Colours the graph of Kedro-Viz before anything has been run.

Knows the project in the current folder; which dataset gets which colour is said in
``graph_colours``.
"""

from pathlib import Path

import click
from kedro.utils import find_kedro_project


@click.command()
def colour_graph() -> None:
    """Writes .viz/styles.json, from which Kedro-Viz takes the stages' colours.

    Every `kedro run` does so too.
    """
    project = find_kedro_project(Path.cwd())
    if project is None:
        raise click.ClickException(
            f"Expected a folder in the Kedro project; {Path.cwd()} is in none. Go there first."
        )
    # Only here: the pipelines bring all of torch, for which the other commands need not wait.
    from model_compression.graph_colours import write_styles  # noqa: PLC0415
    from model_compression.pipeline_registry import register_pipelines  # noqa: PLC0415

    click.echo(write_styles(Path(project), register_pipelines()))
