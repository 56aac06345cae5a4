"""What could not be said to MLflow yet, on disk, and its way there later.

Knows files and order; what an entry does at the server is the sender's business. A folder a run:

    header.json     which server and experiment, which process, and MLflow's identifiers if the run
                    had begun there
    journal.jsonl   the entries in their order, one a line
    files/          copies of the files that entries name: the originals change with the next run
    progress.json   how many entries have been sent, and the identifiers since then

An entry that was sent just before a crash is sent again, which leaves no second trace (``sender``).
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, Self
from urllib.parse import urlsplit, urlunsplit

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field

from model_compression.files import atomic_write
from model_compression.tracking.entries import (
    ENTRY,
    EndRun,
    Entry,
    LogArtifact,
    LogModel,
    OpenRun,
)
from model_compression.tracking.processes import is_gone

FOLDER = "mlflow-outbox"
"""Beside the project's ``mlflow.db``."""


class OutboxError(ValueError):
    """A folder of the outbox that can't be read, or is in use."""


class Identifiers(BaseModel):
    """MLflow's identifiers by our keys, as far as they are known."""

    model_config = ConfigDict(extra="forbid")

    runs: dict[str, str] = Field(default_factory=dict)
    models: dict[str, str] = Field(default_factory=dict)
    versions: dict[str, tuple[str, str]] = Field(default_factory=dict)
    """Registered name and version, by the model's key."""


class Experiment(BaseModel):
    """Where runs are opened; made with these settings if it isn't there."""

    model_config = ConfigDict(extra="forbid")

    name: str
    artifact_location: str | None = None
    tags: dict[str, Any] | None = None


class Header(BaseModel):
    """What is known of a run when its first entry could not be sent."""

    model_config = ConfigDict(extra="forbid")

    name: str
    """The run's, for people."""
    uri: str
    """The server, without a password."""
    experiment: Experiment
    host: str
    process: str
    """Where the run runs, as ``processes`` says it."""
    open_runs: list[str] = Field(default_factory=list)
    """Keys of the runs that were open at the server."""
    identifiers: Identifiers = Field(default_factory=Identifiers)


class Progress(BaseModel):
    """How far the sending has come."""

    model_config = ConfigDict(extra="forbid")

    sent: int = 0
    identifiers: Identifiers


class Speaker(Protocol):
    """Says entries to a server: ``sender.Sender``, or a stand-in."""

    identifiers: Identifiers

    def say(self, entry: Entry, again: bool = False) -> None:
        """Says it; ``again``: it may have been said before."""


class Journal:
    """One run's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def begin(cls, outbox: Path, header: Header) -> Self:
        """A new folder in the outbox."""
        key = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}-{time.monotonic_ns() % 10**6:06}"
        journal = cls(outbox / key)
        with atomic_write(journal.folder / "header.json") as temporary:
            temporary.write_text(header.model_dump_json(indent=2))
        return journal

    def append(self, entry: Entry) -> None:
        """Keeps an entry, and a copy of the file that it names."""
        if isinstance(entry, LogArtifact | LogModel):
            entry = entry.model_copy(update={"file": self._keep(entry.file)})
        with (self.folder / "journal.jsonl").open("ab") as file:
            file.write(entry.model_dump_json().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def header(self) -> Header:
        """What was known at the beginning."""
        return Header.model_validate_json((self.folder / "header.json").read_text())

    def entries(self) -> list[Entry]:
        """All that was kept, but for a last line that was cut off when the process was killed.

        Raises:
            OutboxError: If a line is no entry; names it.
        """
        path = self.folder / "journal.jsonl"
        *lines, _ = path.read_bytes().split(b"\n") if path.exists() else [b""]
        entries = []
        for number, line in enumerate(lines, start=1):
            try:
                entry = ENTRY.validate_json(line)
            except ValueError as error:
                raise OutboxError(
                    f"{path}, line {number}: expected an entry of the journal, and it can't be "
                    f"read: {error}"
                ) from error
            if isinstance(entry, LogArtifact | LogModel):
                entry = entry.model_copy(update={"file": self.folder / entry.file})
            entries.append(entry)
        return entries

    def is_under_way(self) -> bool:
        """Whether the run may still add to it."""
        header = self.header()
        return bool(self._open_runs(self.entries())) and not is_gone(header.host, header.process)

    def progress(self) -> Progress:
        """How far the sending has come."""
        path = self.folder / "progress.json"
        if path.exists():
            return Progress.model_validate_json(path.read_text())
        return Progress(identifiers=self.header().identifiers)

    def send(self, connect: Callable[[Header, Identifiers], Speaker]) -> int:
        """Says all that has not been said yet, in order, and removes the folder.

        Runs that their process has left open are ended as killed.

        Args:
            connect: Gives the speaker to a server, with the identifiers that are known.

        Returns:
            How many entries were sent.

        Raises:
            OutboxError: If another process is sending it, or it can't be read.
            Exception: Whatever the speaker raises; what was sent before stays sent.
        """
        lock = FileLock(self.folder / "lock")
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise OutboxError(f"{self.folder}: another process is sending it") from error
        try:
            entries = self.entries()
            entries += self._endings(entries)
            progress = self.progress()
            speaker = connect(self.header(), progress.identifiers)
            for number, entry in enumerate(entries[progress.sent :], start=progress.sent + 1):
                speaker.say(entry, again=True)
                self._note(Progress(sent=number, identifiers=speaker.identifiers))
            shutil.rmtree(self.folder)
            return len(entries) - progress.sent
        finally:
            lock.release()

    def _keep(self, file: Path) -> Path:
        number = sum(1 for _ in (self.folder / "files").glob("*"))
        kept = Path("files") / str(number) / file.name
        (self.folder / kept).parent.mkdir(parents=True)
        if file.is_dir():
            shutil.copytree(file, self.folder / kept)
        else:
            shutil.copyfile(file, self.folder / kept)
        return kept

    def _note(self, progress: Progress) -> None:
        with atomic_write(self.folder / "progress.json") as temporary:
            temporary.write_text(progress.model_dump_json())

    def _open_runs(self, entries: list[Entry]) -> list[str]:
        """Keys of the runs that were not ended, the innermost first."""
        still_open = dict.fromkeys(self.header().open_runs)
        for entry in entries:
            if isinstance(entry, OpenRun):
                still_open[entry.run] = None
            elif isinstance(entry, EndRun):
                still_open.pop(entry.run, None)
        return list(reversed(still_open))

    def _endings(self, entries: list[Entry]) -> list[Entry]:
        left = self._open_runs(entries)
        if not left:
            return []
        last = round((self.folder / "journal.jsonl").stat().st_mtime * 1000)
        return [EndRun(run=key, status="KILLED", end_time=last) for key in left]


def waiting(outbox: Path) -> Iterator[Journal]:
    """The runs in the outbox, the oldest first."""
    for header in sorted(outbox.glob("*/header.json")):
        yield Journal(header.parent)


def without_password(uri: str) -> str:
    """An address as it may be written down."""
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
