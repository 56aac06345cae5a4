"""Sends to MLflow what could not be sent when it happened.

Knows the outbox and where to send it; what an entry does at the server is the sender's business.
"""

import os
import sys
from pathlib import Path

import click


@click.command()
@click.option(
    "--to",
    "uri",
    help="The tracking server; otherwise the one that each run was meant for.",
)
@click.option(
    "--outbox",
    default=Path("mlflow-outbox"),
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder in which runs wait.",
)
def sync_tracking(uri: str | None, outbox: Path) -> None:
    """Sends the runs that wait in the outbox to their tracking server, and empties it.

    A run that is sent twice, because the way was cut off in between, is there once. A run that is
    still under way is left for the next time. The exit status is 1 if one could not be sent.
    """
    # Here and not above: MLflow takes seconds to load, and the other commands do without it.
    from model_compression.tracking.outbox import (  # noqa: PLC0415
        Header,
        Identifiers,
        waiting,
        without_password,
    )
    from model_compression.tracking.reach import (  # noqa: PLC0415
        limit_patience,
        reason,
        why_unreachable,
    )
    from model_compression.tracking.sender import Sender, connect  # noqa: PLC0415

    limit_patience()
    named = os.environ.get("MLFLOW_TRACKING_URI", "")

    def address(header: Header) -> str:
        """With the password that the environment has for the very server."""
        return uri or (named if without_password(named) == header.uri else header.uri)

    def connected(header: Header, identifiers: Identifiers) -> Sender:
        server = address(header)
        unreachable = why_unreachable(server)
        if unreachable is not None:
            raise ConnectionError(f"{without_password(server)} can't be reached: {unreachable}")
        return connect(server, header.experiment, identifiers)

    failed, found = 0, 0
    for journal in waiting(outbox):
        found += 1
        try:
            header = journal.header()
            if journal.is_under_way():
                click.echo(f"{header.name}: still under way, left for later ({journal.folder})")
                continue
            count = journal.send(connected)
        except Exception as error:  # whatever it is, the others are sent, and this one is kept
            failed += 1
            click.echo(f"{journal.folder}: not sent, kept. {reason(error)}", err=True)
            continue
        click.echo(f"{header.name}: sent to {without_password(address(header))} ({count} entries)")
    if not found:
        click.echo(f"Nothing waits in {outbox}.")
    if failed:
        sys.exit(1)
