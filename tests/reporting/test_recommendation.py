import json

import pandas as pd
import pytest

from model_compression.reporting.recommendation import Recommendation, recommend
from model_compression.reporting.units import SPACE


def slow(run, factor):
    """Makes the last stage that many times as slow as the stage before it, turn by turn."""
    before = run.latency[run.latency["stage"] == "pruned"]
    rest = run.latency[run.latency["stage"] != "quantized"]
    last = before.assign(stage="quantized", latency_ms=before["latency_ms"] * factor)
    run.latency = pd.concat([rest, last], ignore_index=True)
    return recommend(run.evaluations, run.latency)


def test_a_faster_last_stage_is_recommended(run):
    chosen = slow(run, 0.5)
    assert chosen.stage == "quantized"
    assert "for one image faster than the pruned one" in chosen.reason
    assert chosen.file_bytes == 46_720
    assert chosen.accuracy == run.evaluations["quantized"]["accuracy"]


def test_a_slower_last_stage_is_not_and_the_reason_gives_both_sides(run):
    chosen = slow(run, 2)
    assert chosen.stage == "pruned"
    reason = chosen.reason.replace(SPACE, " ")
    assert reason.startswith("For one image, the quantized one is 2.00\u00d7 slower here (")
    assert reason.endswith(
        "The pruned file takes 166 kB instead of 46.7 kB and gets 92.00% of the images right "
        "instead of 91.90%."
    )
    times = run.latency[(run.latency["stage"] == "pruned")]
    assert chosen.latency_ms_batch1 == times[times["batch_size"] == 1]["latency_ms"].median()
    assert chosen.latency_ms_batch64 == times[times["batch_size"] == 64]["latency_ms"].median()


def test_within_the_spread_the_last_stage_is_recommended(run):
    # Slower in three turns of five, by turns that are paired: the quartiles have 1 between them.
    assert slow(run, 1).stage == "quantized"
    repeats = run.latency["repeat"]
    of_last = run.latency["stage"] == "quantized"
    run.latency.loc[of_last, "latency_ms"] *= 1.05
    run.latency.loc[of_last & (repeats % 5 < 2), "latency_ms"] *= 0.9
    chosen = recommend(run.evaluations, run.latency)
    assert chosen.stage == "quantized"
    assert "for one image as fast as the pruned one" in chosen.reason


def test_only_one_image_counts_where_batches_say_otherwise(run):
    slow(run, 2)
    rows = (run.latency["stage"] == "quantized") & (run.latency["batch_size"] == 64)
    run.latency.loc[rows, "latency_ms"] /= 10
    assert recommend(run.evaluations, run.latency).stage == "pruned"


def test_what_was_not_measured_is_said_and_stored_as_null(run):
    run.latency = run.latency[run.latency["stage"] != "quantized"]
    run.evaluations["quantized"] |= {"accuracy": None, "file_bytes": None}
    chosen = recommend(run.evaluations, run.latency)
    assert chosen.reason.endswith("than the pruned one was not measured.")
    assert json.loads(json.dumps(chosen.as_json())) == {
        "stage": "quantized",
        "path": "06_models/quantized/model.onnx",
        "fingerprint": run.evaluations["quantized"]["fingerprint"],
        "reason": chosen.reason,
        "accuracy": None,
        "file_bytes": None,
        "latency_ms_batch1": None,
        "latency_ms_batch64": None,
    }


def test_a_slower_stage_whose_price_is_unknown_is_refused_for_its_speed_alone(run):
    for key in ("accuracy", "file_bytes"):
        run.evaluations["quantized"][key] = None
    assert slow(run, 2).reason.endswith(").")


def test_a_single_stage_is_the_one_to_ship_and_none_is_refused(run):
    alone = {"teacher": run.evaluations["teacher"]}
    assert recommend(alone, run.latency).stage == "teacher"
    with pytest.raises(ValueError, match="at least one stage"):
        recommend({}, run.latency)


def test_what_is_stored_is_plain(run):
    stored = json.loads(json.dumps(recommend(run.evaluations, run.latency).as_json()))
    assert stored["file_bytes"] == 46_720
    assert SPACE not in stored["reason"]


@pytest.mark.parametrize("missing", ["stage", "reason", "fingerprint"])
def test_what_lacks_something_is_refused(run, missing):
    stored = recommend(run.evaluations, run.latency).as_json()
    del stored[missing]
    with pytest.raises(ValueError, match=f"{missing} is missing.*--pipeline=reporting"):
        Recommendation.from_json(stored)


def test_what_was_stored_is_said_again_in_the_same_words(run):
    for key in ("accuracy", "file_bytes"):
        chosen = slow(run, 2)
        stored = json.loads(json.dumps(chosen.as_json()))
        again = Recommendation.from_json(stored)
        assert again.as_json() == stored
        assert again.advice == chosen.advice.replace(SPACE, " ")
        run.evaluations["pruned"][key] = None
