"""What `python -m model_compression` does besides running pipelines, a command a file."""

import click

from model_compression.commands.colouring import colour_graph
from model_compression.commands.packing import pack, unpack
from model_compression.commands.predict import predict
from model_compression.commands.sync_tracking import sync_tracking

COMMANDS: dict[str, click.Command] = {
    "colour-graph": colour_graph,
    "pack": pack,
    "predict": predict,
    "sync-tracking": sync_tracking,
    "unpack": unpack,
}
"""By the word that is typed after `python -m model_compression`."""

__all__ = ["COMMANDS", "colour_graph", "pack", "predict", "sync_tracking", "unpack"]
