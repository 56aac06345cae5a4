"""What each step gives, on trials whose effects are known beforehand."""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from model_compression.reporting import (
    ABLATION_COLUMNS,
    EFFECT_COLUMNS,
    ablation_effects,
    ablation_figure,
    ablation_table,
)

GAINS = {"distillation": 0.01, "pruning": -0.004, "quantization": -0.001}
SHRINKS = {"distillation": 1.0, "pruning": 2.0, "quantization": 4.0}


def records(seeds=(0,), together: float = 0.0) -> dict[str, dict]:
    """Every subset; ``together`` is added where a trial is both distilled and quantized."""
    made = {}
    for seed, has in product(seeds, product((False, True), repeat=3)):
        steps = dict(zip(GAINS, has, strict=True))
        name = "-".join(step for step in steps if steps[step]) or "plain"
        accuracy = 0.9 + 0.002 * seed + sum(GAINS[step] for step in steps if steps[step])
        accuracy += together * (steps["distillation"] and steps["quantization"])
        accuracy += 0.001 * seed * steps["pruning"]
        size = 320_000 / np.prod([SHRINKS[step] for step in steps if steps[step]])
        made[f"{name}-seed{seed}"] = {
            "name": name,
            "seed": seed,
            **steps,
            "epochs": {"student": 20},
            "validation_accuracy": 0.91,
            "evaluation": {
                "accuracy": accuracy,
                "accuracy_low": accuracy - 0.005,
                "accuracy_high": accuracy + 0.005,
                "parameters": int(size / 4),
                "nonzero_parameters": int(size / 4),
                "macs": 9_000_000 if not steps["pruning"] else 6_000_000,
                "file_bytes": int(size),
                "packed_bytes": int(0.9 * size),
                "runtime": "onnxruntime",
                "training_seconds": 60.0,
            },
        }
    return made


def latency(keys) -> pd.DataFrame:
    rows = [
        (key, batch, repeat, (0.1 if "quantization" in key else 0.2) * batch + 0.001 * repeat)
        for key in keys
        for batch in (1, 64)
        for repeat in range(3)
    ]
    return pd.DataFrame(rows, columns=["stage", "batch_size", "repeat", "latency_ms"])


def table(**changes) -> pd.DataFrame:
    made = records(**changes)
    return ablation_table(made, latency(made))


def effect(effects: pd.DataFrame, step: str, which: str) -> pd.Series:
    (row,) = effects[(effects["step"] == step) & (effects["effect"] == which)].iloc
    return row


def test_the_table_has_a_row_a_trial_with_what_was_measured_on_its_file():
    made = table(seeds=(0, 1))
    assert list(made.columns) == list(ABLATION_COLUMNS)
    assert len(made) == 16
    row = made.set_index("stage").loc["distillation-quantization-seed1"]
    assert (row["trial"], row["seed"], row["epochs"]) == (
        "distillation-quantization",
        1,
        "student 20",
    )
    assert (row["distillation"], row["pruning"], row["quantization"]) == (True, False, True)
    assert row["accuracy"] == pytest.approx(0.911)
    assert row["file_bytes"] == 80_000
    assert row["latency_ms_batch1"] == pytest.approx(0.101)
    assert row["latency_ms_batch64"] == pytest.approx(6.401)


def test_where_steps_add_up_alone_and_last_and_average_are_the_same():
    effects = ablation_effects(table())
    assert list(effects.columns) == list(EFFECT_COLUMNS)
    assert len(effects) == 9
    for step, gain in GAINS.items():
        for which in ("alone", "last", "average"):
            found = effect(effects, step, which)
            assert found["accuracy"] == pytest.approx(gain)
            assert found["file_bytes"] == pytest.approx(SHRINKS[step])
            assert found["macs"] == pytest.approx(1.5 if step == "pruning" else 1)
    assert effect(effects, "quantization", "last")["latency_ms_batch1"] == pytest.approx(
        0.201 / 0.101
    )


def test_a_step_that_helps_only_beside_another_gives_more_last_than_alone():
    effects = ablation_effects(table(together=0.008))
    distillation = {
        which: effect(effects, "distillation", which)["accuracy"]
        for which in ("alone", "last", "average")
    }
    assert distillation == pytest.approx({"alone": 0.01, "last": 0.018, "average": 0.014})
    assert effect(effects, "pruning", "last")["accuracy"] == pytest.approx(-0.004)


def test_effects_are_paired_by_seed_with_an_interval_from_two_seeds_on():
    one = effect(ablation_effects(table()), "pruning", "alone")
    assert one["seeds"] == 1
    assert np.isnan(one["accuracy_low"])
    three = effect(ablation_effects(table(seeds=(0, 1, 2))), "pruning", "alone")
    # Pairs of -0.4, -0.3 and -0.2 points: t(0.975, 2) = 4.3027, s = 0.1.
    half = 4.302653 * 0.001 / np.sqrt(3)
    assert three["seeds"] == 3
    assert three["accuracy"] == pytest.approx(-0.003)
    assert three["accuracy_low"] == pytest.approx(-0.003 - half, rel=1e-5)
    assert three["accuracy_high"] == pytest.approx(-0.003 + half, rel=1e-5)


def test_an_effect_of_a_trial_that_is_missing_is_missing_and_others_are_not():
    made = table()
    effects = ablation_effects(made[made["trial"] != "pruning"])
    assert np.isnan(effect(effects, "pruning", "alone")["accuracy"])
    assert np.isnan(effect(effects, "pruning", "average")["file_bytes"])
    assert effect(effects, "pruning", "alone")["seeds"] == 0
    assert effect(effects, "pruning", "last")["accuracy"] == pytest.approx(-0.004)


def test_effects_survive_the_way_through_a_file(tmp_path):
    made = table(seeds=(0, 1))
    made.to_csv(tmp_path / "comparison.csv", index=False)
    read = pd.read_csv(tmp_path / "comparison.csv")
    pd.testing.assert_frame_equal(ablation_effects(read), ablation_effects(made))


def test_a_table_of_something_else_is_refused():
    with pytest.raises(ValueError, match=r"ablation table lacks the columns \['packed_bytes'\]"):
        ablation_effects(table().drop(columns="packed_bytes"))


def test_the_figure_has_a_labelled_point_a_subset_and_a_line_a_step():
    figure = ablation_figure(table(seeds=(0, 1)))
    points = next(trace for trace in figure.data if trace.name == "trials")
    assert len(points.x) == 8
    labels = {annotation.text for annotation in figure.layout.annotations}
    assert labels == {"plain", "D", "P", "Q", "D + P", "D + Q", "P + Q", "D + P + Q"}
    mean = 0.9 + 0.001  # of the two seeds
    plain = list(points.x).index(320_000)
    assert points.y[plain] in (pytest.approx(mean), pytest.approx(mean + 0.01))
    lines = {trace.name: trace for trace in figure.data if trace.mode == "lines"}
    assert list(lines) == ["D distillation", "P pruning", "Q quantization"]
    for trace in lines.values():
        # Four edges of the cube, each with a gap behind it.
        assert len(trace.x) == 12
    # Quantization leads to a quarter of the bytes, wherever it is added.
    xs = lines["Q quantization"].x
    assert {xs[i] / xs[i + 1] for i in range(0, 12, 3)} == {4.0}
    # Distilled points are filled.
    filled = [colour == points.marker.line.color for colour in points.marker.color]
    hovers = [text.split("</b>")[0] for text in points.customdata]
    assert filled == ["distillation" in hover for hover in hovers]


def test_bars_are_the_interval_of_one_seed_and_the_range_of_several():
    one = next(trace for trace in ablation_figure(table()).data if trace.name == "trials")
    assert list(one.error_y.array) == pytest.approx([0.005] * 8)
    two = next(
        trace for trace in ablation_figure(table(seeds=(0, 1))).data if trace.name == "trials"
    )
    assert sorted(two.error_y.array) == pytest.approx([0.001] * 4 + [0.0015] * 4)
    assert "2 seeds" in two.customdata[0]


def test_a_figure_of_nothing_says_so():
    figure = ablation_figure(table().iloc[:0])
    assert [annotation.text for annotation in figure.layout.annotations] == ["Trials not measured"]
