"""A process that outlives ours by a moment, to end its runs when it could not do so itself.

Started by ``lifetime`` as a script. Each line on its standard input is a JSON object: the
tracking server's ``uri`` and the identifiers of the ``runs`` that are open. When the input ends,
or the parent is another, ours has died: by ``kill -9``, for want of memory, or orderly, in which
case the last line names no runs and nothing is left to do. Only the standard library is loaded
until then.
"""

import json
import os
import select
import signal
import sys
from pathlib import Path
from typing import Any

POLL_SECONDS = 5.0
"""A child of ours that lives on may hold the other end of the input open, so we look now and then
whether our parent is still the one that started us."""


def main() -> None:
    """Waits for the end, then ends what is left."""
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    state = read_until_death(sys.stdin.fileno(), os.getppid())
    if state["runs"]:
        sys.path.insert(0, str(Path(__file__).parents[2]))
        end(state)


def read_until_death(descriptor: int, parent: int) -> dict[str, Any]:
    """The last whole line; a line that was cut off does not count."""
    last, cut = b"", b""
    while os.getppid() == parent:
        ready, _, _ = select.select([descriptor], [], [], POLL_SECONDS)
        if not ready:
            continue
        chunk = os.read(descriptor, 65536)
        if not chunk:
            break
        *whole, cut = (cut + chunk).split(b"\n")
        last = whole[-1] if whole else last
    state: dict[str, Any] = json.loads(last) if last else {"runs": []}
    return state


def end(state: dict[str, Any]) -> None:
    """Ends the runs; only now is MLflow loaded."""
    from mlflow import MlflowClient  # noqa: PLC0415

    from model_compression.tracking.ending import end_as_killed  # noqa: PLC0415

    end_as_killed(MlflowClient(state["uri"]), state["runs"])


if __name__ == "__main__":
    main()
