"""A sample of the networks: one whose channels are grouped and shuffled."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pandas as pd
import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "pruning_zoo.py"
SAMPLE = ["shufflenet_v2_x0_5"]


@pytest.fixture
def survey(tmp_path, monkeypatch, capsys):
    """A function that runs the script on some networks, and a table that it goes on with.

    It runs in this process, and starts those of the networks itself.
    """
    path = tmp_path / "zoo.csv"
    spec = spec_from_file_location("pruning_zoo", SCRIPT)
    script = module_from_spec(spec)
    spec.loader.exec_module(script)

    def run(names: list[str]) -> tuple[pd.DataFrame, str]:
        options = [f"--only={','.join(names)}", f"--table={path}", "--repeats=2"]
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *options])
        script.main()
        return pd.read_csv(path).set_index("network"), capsys.readouterr().out

    return run


def test_a_sample_is_halved_reloaded_exported_and_timed(survey):
    table, said = survey(SAMPLE)
    assert list(table.index) == SAMPLE
    assert table["failure"].isna().all()
    assert table["reloaded_exactly"].all()
    assert (table["macs_left"] / table["macs"]).between(0.45, 0.55).all()
    assert (table["largest_relative_difference"] < 1e-5).all()
    assert (table["file_bytes_left"] < 0.7 * table["file_bytes"]).all()
    assert (table["speedup"] > 0).all()
    assert said.count(" | exactly | ") == len(SAMPLE)

    again, _ = survey([*SAMPLE, "no_such_network"])
    assert (again.loc[SAMPLE, "speedup"] == table["speedup"]).all()
    assert (again.loc[SAMPLE, "macs"] == table["macs"]).all()
    assert "no_such_network" in again.loc["no_such_network", "failure"]
