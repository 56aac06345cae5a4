import pytest

from model_compression.tracking.entries import EndRun, LogArtifact, LogMetrics, Measured, OpenRun
from model_compression.tracking.outbox import Identifiers, OutboxError, waiting
from model_compression.tracking.recorder import Recorder

OPEN = OpenRun(run="a", name="compress", tags={"x": "y"}, start_time=1)
END = EndRun(run="a", status="FINISHED", end_time=9)


def metric(step, value=0.5):
    return LogMetrics(run="a", values=(Measured(name="loss", value=value, step=step),), time=step)


class Server:
    """A stand-in that is away from its ``dies_at``-th word on, until it is woken up."""

    def __init__(self, dies_at=None, identifiers=None):
        self.identifiers = identifiers or Identifiers()
        self.heard = []
        self.dies_at = dies_at

    def say(self, entry, again=False):
        if self.dies_at is not None and len(self.heard) >= self.dies_at:
            raise ConnectionError("refused")
        if isinstance(entry, OpenRun):
            self.identifiers.runs.setdefault(entry.run, f"id-{entry.run}")
        self.heard.append(entry)


def unreachable(error):
    return isinstance(error, ConnectionError)


def send(journal, server):
    def connect(header, identifiers):
        server.identifiers = identifiers
        return server

    return journal.send(connect)


@pytest.mark.parametrize("dies_at", [0, 1, 2, 3])
def test_what_a_lost_server_missed_is_sent_later_in_order(tmp_path, header, caplog, dies_at):
    server = Server(dies_at)
    recorder = Recorder(server, tmp_path, header, unreachable)
    said = [OPEN, metric(1), metric(2), END]
    for entry in said:
        recorder.record(entry)
    assert caplog.text.count("sync-tracking") == 1
    server.dies_at = None
    (journal,) = waiting(tmp_path)
    assert send(journal, server) == len(said) - dies_at
    assert server.heard == said
    assert server.identifiers.runs == {"a": "id-a"}
    assert list(waiting(tmp_path)) == []


def test_nothing_is_written_while_the_server_is_there(tmp_path, header):
    recorder = Recorder(Server(), tmp_path / "outbox", header, unreachable)
    recorder.record(OPEN)
    recorder.record(END)
    assert not (tmp_path / "outbox").exists()


def test_what_the_server_has_against_an_entry_is_no_lost_server(tmp_path, header):
    class Strict(Server):
        def say(self, entry, again=False):
            raise ValueError("no such metric")

    with pytest.raises(ValueError, match="no such metric"):
        Recorder(Strict(), tmp_path, header, unreachable).record(OPEN)


def test_a_file_is_sent_as_it_was_when_it_was_logged(tmp_path, header):
    file = tmp_path / "table.csv"
    file.write_text("then")
    recorder = Recorder(None, tmp_path / "outbox", header, unreachable)
    recorder.record(OPEN)
    for _ in range(2):
        recorder.record(LogArtifact(run="a", file=file, folder="reporting"))
    recorder.record(END)
    file.write_text("now")
    seen = []

    class Reader(Server):
        def say(self, entry, again=False):
            super().say(entry)
            if isinstance(entry, LogArtifact):
                seen.append((entry.file.name, entry.file.read_text()))

    (journal,) = waiting(tmp_path / "outbox")
    send(journal, Reader())
    assert seen == [("table.csv", "then")] * 2


def test_a_sending_that_is_cut_off_goes_on_where_it_was(tmp_path, header):
    recorder = Recorder(None, tmp_path, header, unreachable)
    said = [OPEN, metric(1), metric(2, float("nan")), END]
    for entry in said:
        recorder.record(entry)
    (journal,) = waiting(tmp_path)
    first = Server(dies_at=2)
    with pytest.raises(ConnectionError):
        send(journal, first)
    second = Server()
    assert send(journal, second) == 2
    assert second.identifiers.runs == {"a": "id-a"}
    assert [entry.kind for entry in first.heard + second.heard] == [entry.kind for entry in said]


def test_a_run_that_was_killed_while_the_server_was_away_ends_as_killed(tmp_path, header):
    gone = header.model_copy(update={"process": "1@12.0"})
    recorder = Recorder(Server(dies_at=1), tmp_path, gone, unreachable)
    recorder.record(OPEN)
    recorder.record(OpenRun(run="b", parent="a", name="teacher", tags={}, start_time=2))
    (journal,) = waiting(tmp_path)
    with (journal.folder / "journal.jsonl").open("ab") as file:
        file.write(b'{"kind": "log_me')  # it died in mid-word
    assert not journal.is_under_way()
    server = Server()
    send(journal, server)
    endings = [(entry.run, entry.status) for entry in server.heard if isinstance(entry, EndRun)]
    assert endings == [("b", "KILLED"), ("a", "KILLED")]


def test_a_run_is_under_way_until_it_has_ended(tmp_path, header):
    recorder = Recorder(None, tmp_path, header, unreachable)
    recorder.record(OPEN)
    (journal,) = waiting(tmp_path)
    assert journal.is_under_way()
    recorder.record(END)
    assert not journal.is_under_way()


def test_a_damaged_journal_is_named_and_kept(tmp_path, header):
    recorder = Recorder(None, tmp_path, header, unreachable)
    recorder.record(OPEN)
    (journal,) = waiting(tmp_path)
    with (journal.folder / "journal.jsonl").open("ab") as file:
        file.write(b"{}\n")
    with pytest.raises(OutboxError, match=r"journal\.jsonl, line 2"):
        send(journal, Server())
    assert (journal.folder / "journal.jsonl").exists()


def test_the_open_runs_at_the_server_are_told(tmp_path, header):
    told = []
    server = Server(dies_at=3)
    recorder = Recorder(server, tmp_path, header, unreachable, told.append)
    recorder.record(OPEN)
    recorder.record(OpenRun(run="b", parent="a", name="teacher", tags={}, start_time=2))
    recorder.record(EndRun(run="b", status="FINISHED", end_time=3))
    recorder.record(metric(1))
    assert told == [["id-a"], ["id-b", "id-a"], ["id-a"], []]
