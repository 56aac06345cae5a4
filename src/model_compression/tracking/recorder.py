"""Says entries to the server as they come; from the moment when it is gone, keeps them on disk.

Knows neither Kedro nor MLflow. A server that was lost is not tried again in the same run: what is
kept stays in order, and no step waits for a time-out a second time.
"""

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from model_compression.tracking.entries import EndRun, Entry, OpenRun
from model_compression.tracking.outbox import Header, Identifiers, Journal, Speaker

logger = logging.getLogger(__name__)


class Recorder:
    """Where all entries of one `kedro run` go, from whichever thread."""

    def __init__(
        self,
        speaker: Speaker | None,
        outbox: Path,
        header: Header,
        is_unreachable: Callable[[BaseException], bool],
        on_change: Callable[[list[str]], None] = lambda _: None,
    ) -> None:
        """Starts at the server if there is one.

        Args:
            speaker: Says entries to the server; ``None`` if it can't be reached, which is then
                known already and not warned about again.
            outbox: Where entries are kept otherwise.
            header: What the outbox has to know of the run.
            is_unreachable: Whether an error says that the server is gone.
            on_change: Told the open runs' identifiers at the server whenever they change; none
                once the server is gone, as then the outbox knows what is open.
        """
        self._speaker = speaker
        self._outbox = outbox
        self._header = header
        self._is_unreachable = is_unreachable
        self._on_change = on_change
        self._journal: Journal | None = None
        self._open: list[str] = []
        self._lock = threading.RLock()

    @property
    def online(self) -> bool:
        """Whether entries still go to the server."""
        return self._speaker is not None

    def adopt(self, key: str, run_id: str) -> None:
        """Takes a run over that somebody else has opened at the server."""
        with self._lock:
            if self._speaker is not None:
                self._speaker.identifiers.runs[key] = run_id
                self._changed(opened=key)

    def run_id(self, key: str) -> str | None:
        """A run's identifier, if it is at the server."""
        return None if self._speaker is None else self._speaker.identifiers.runs.get(key)

    def record(self, entry: Entry) -> None:
        """Says it, or keeps it.

        Raises:
            Exception: Whatever the server has against the entry itself.
        """
        with self._lock:
            if self._speaker is not None:
                try:
                    self._speaker.say(entry)
                except Exception as error:
                    if not self._is_unreachable(error):
                        raise
                    self._lose(self._speaker.identifiers, error)
            if self._speaker is None:
                self._keep(entry)
            if isinstance(entry, OpenRun):
                self._changed(opened=entry.run)
            elif isinstance(entry, EndRun):
                self._changed(ended=entry.run)

    def _keep(self, entry: Entry) -> None:
        if self._journal is None:
            self._journal = Journal.begin(self._outbox, self._header)
        self._journal.append(entry)

    def _lose(self, identifiers: Identifiers, error: Exception) -> None:
        lines = str(error).splitlines() or [""]
        warn_of_outbox(self._header.uri, f"{type(error).__name__}: {lines[0][:300]}", self._outbox)
        self._speaker = None
        self._header = self._header.model_copy(
            update={"identifiers": identifiers, "open_runs": list(self._open)}
        )
        self._on_change([])

    def _changed(self, opened: str | None = None, ended: str | None = None) -> None:
        if opened is not None and opened not in self._open:
            self._open.append(opened)
        if ended in self._open:
            self._open.remove(ended)
        if self._speaker is not None:
            runs = self._speaker.identifiers.runs
            self._on_change([runs[key] for key in reversed(self._open)])


def warn_of_outbox(uri: str, reason: str, outbox: Path) -> None:
    """Says once what a lost server means: nothing is lost but its being up to date."""
    logger.warning(
        "The tracking server %s can't be reached (%s). The run goes on; what it logs is kept in "
        "%s. When the server is back: python -m model_compression sync-tracking",
        uri,
        reason,
        outbox,
    )
