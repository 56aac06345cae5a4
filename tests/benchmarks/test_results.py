"""The table that benchmarks write to."""

import pandas as pd


def test_a_row_takes_the_place_of_the_one_that_was_measured_before(load, tmp_path):
    results, table = load("results"), tmp_path / "new" / "table.csv"
    results.keep(table, [{"model": "a", "s": 1}, {"model": "b", "s": 2}], ["model"])
    results.keep(table, [{"model": "a", "s": 3, "note": "again"}], ["model"])
    kept = pd.read_csv(table).set_index("model")
    assert kept["s"].to_dict() == {"a": 3, "b": 2}
    assert kept.loc["a", "note"] == "again"


def test_the_spread_is_the_median_and_both_ends(load):
    results = load("results")
    assert list(results.spread("s", [3.0, 1.0, 9.0]).values()) == [3.0, 1.0, 9.0]
    assert set(results.spread("s", []).values()) == {""}


def test_a_row_names_the_machine_and_the_versions(load):
    found = load("results").surroundings("numpy", "no-such-package")
    assert found["processor"]
    assert found["cores"] >= 1
    assert found["numpy"].count(".") == 2
    assert found["no-such-package"] == ""
