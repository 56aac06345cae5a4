"""What MLflow's being away, or a trial of one's own, does to `kedro run`."""

import socket

from model_compression.tracking.entries import EndRun, OpenRun
from model_compression.tracking.outbox import FOLDER, waiting


def test_a_server_that_is_away_costs_no_result_and_is_warned_of_once(make_project, run, caplog):
    project = make_project("away")
    (project / "mlflow.db").unlink()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{free.getsockname()[1]}"
    with (project / "conf" / "smoke" / "mlflow.yml").open("a") as file:
        file.write(f"\nserver:\n  mlflow_tracking_uri: {uri}\n")
    run(project, "data_preparation", data={"seed": 1})
    assert (project / "data" / "smoke" / "05_model_input" / "normalization.json").exists()
    assert caplog.text.count("can't be reached") == 1
    assert not (project / "mlflow.db").exists()
    (journal,) = waiting(project / FOLDER)
    header, entries = journal.header(), journal.entries()
    assert (header.uri, header.experiment.name) == (uri, "model_compression_smoke")
    opened, ended = entries[0], entries[-1]
    assert isinstance(opened, OpenRun)
    assert opened.name == "data_preparation [smoke] data.seed=1"
    assert opened.tags["overrides"] == "data.seed=1"
    assert isinstance(ended, EndRun)
    assert ended.status == "FINISHED"
