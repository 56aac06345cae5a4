"""What is measured as work grows."""

import json

import pytest


def test_the_slope_is_the_power_that_the_cost_grows_by(load):
    slope = load("growth").slope
    sizes = [1, 2, 4, 8]
    assert slope(sizes, [3 * size**1.5 for size in sizes]) == pytest.approx(1.5)
    assert slope(sizes, [7, 7, 7, 7]) == pytest.approx(0)
    with pytest.raises(ValueError, match="two sizes at least"):
        slope([5, 5], [1, 2])


def test_networks_grow_tenfold_in_their_parameters(load):
    script = load("growth")
    along = [point for point in script.points(8000) if point.axis == "parameters"]
    for point in along:
        model = script.build_model(point.model.spec((1, 28, 28), 10))
        assert sum(weight.numel() for weight in model.parameters()) == pytest.approx(
            point.size, rel=0.15
        )


def test_a_point_is_trained_and_its_memory_is_that_of_its_process(load, monkeypatch, capsys):
    script = load("growth")
    point = script.Point(axis="classes", size=100, images=128, classes=100, batch=64)
    monkeypatch.setattr("sys.argv", ["growth", f"--one={point.model_dump_json()}", "--epochs=2"])
    script.main()
    # A log may go the same way, where another test of this process has set Kedro's up.
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert len(found["seconds"]) == 2
    assert min(found["seconds"]) > 0
    assert found["peak"] >= found["before"] > 0
    assert found["parameters"] == 61_706 + 90 * 85


def test_points_become_rows_with_their_slope(load, monkeypatch, tmp_path):
    script = load("growth")
    costs = {10: 1.0, 100: 1.0, 1000: 1.0}
    monkeypatch.setattr(
        script,
        "_in_a_process",
        lambda point, epochs: {
            "parameters": 5,
            "seconds": [costs[point.size]],
            "peak": 10 + point.size,
            "before": 10,
        },
    )
    table = tmp_path / "growth.csv"
    monkeypatch.setattr("sys.argv", ["growth", "--axes=classes", f"--table={table}"])
    script.main()
    rows = script.keep.__globals__["csv"].DictReader(table.open())
    found = [(row["size"], row["time_slope"], row["memory_slope"]) for row in rows]
    assert found == [("10", "0.0", "1.0"), ("100", "0.0", "1.0"), ("1000", "0.0", "1.0")]
