"""The scripts of benchmarks/, run in this process at a tiny size."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pandas as pd
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def load(monkeypatch):
    """A function that imports a script by its name, with those beside it in reach."""
    monkeypatch.syspath_prepend(str(FOLDER))

    def of(name: str):
        spec = spec_from_file_location(name, FOLDER / f"{name}.py")
        script = module_from_spec(spec)
        spec.loader.exec_module(script)
        return script

    return of


@pytest.fixture
def run(load, monkeypatch, tmp_path, capsys):
    """A function that runs a script with options: the table that it keeps, and what it says."""

    def of(name: str, *options: str) -> tuple[pd.DataFrame, str]:
        path = tmp_path / f"{name}.csv"
        monkeypatch.setattr(sys, "argv", [name, f"--table={path}", *options])
        load(name).main()
        return pd.read_csv(path, keep_default_na=False), capsys.readouterr().out

    return of
