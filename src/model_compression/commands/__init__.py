"""What `python -m model_compression` does besides running pipelines, a command a file."""

import click

from model_compression.commands.predict import predict

COMMANDS: dict[str, click.Command] = {"predict": predict}
"""By the word that is typed after `python -m model_compression`."""

__all__ = ["COMMANDS", "predict"]
