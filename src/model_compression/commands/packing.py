"""Packs an ONNX file for its way, and unpacks it again.

Knows paths; the container's layout is said in ``deployment/packing.py``.
"""

from collections.abc import Callable
from pathlib import Path

import click

from model_compression.deployment import PackingError
from model_compression.deployment import pack as pack_bytes
from model_compression.deployment import unpack as unpack_bytes
from model_compression.files import atomic_write

SUFFIX = ".mcpack"

_source = click.argument("source", type=click.Path(exists=True, dir_okay=False, path_type=Path))
_target = click.option(
    "--to",
    "target",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write; otherwise beside the other, with the other ending.",
)
_force = click.option("--force", is_flag=True, help="Write over a file that is there.")


@click.command()
@_source
@_target
@_force
def pack(source: Path, target: Path | None, force: bool) -> None:
    """Packs the ONNX file SOURCE, its weights entropy-coded."""
    _convert(pack_bytes, source, target or source.with_suffix(SUFFIX), force)


@click.command()
@_source
@_target
@_force
def unpack(source: Path, target: Path | None, force: bool) -> None:
    """Gives back the very ONNX file that SOURCE was packed from."""
    _convert(unpack_bytes, source, target or source.with_suffix(".onnx"), force)


def _convert(convert: Callable[[bytes], bytes], source: Path, target: Path, force: bool) -> None:
    if target.exists() and not force:
        raise click.ClickException(
            f"{target} is there already: name another with --to, or write over it with --force"
        )
    content = source.read_bytes()
    try:
        converted = convert(content)
    except PackingError as error:
        raise click.ClickException(f"{source}: {error}") from error
    try:
        with atomic_write(target) as temporary:
            temporary.write_bytes(converted)
    except OSError as error:
        raise click.ClickException(f"{target} can't be written: {error}") from error
    click.echo(f"{target}: {len(converted):,} bytes, of {len(content):,}")
