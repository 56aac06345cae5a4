import io
import math

import pandas as pd
import pytest

from model_compression.reporting import comparison_table
from model_compression.reporting.readings import reference_stage

PROMISED = (
    "stage, architecture, accuracy, accuracy_low, accuracy_high, accuracy_drop, macro_f1, ece, "
    "parameters, nonzero_parameters, macs, file_bytes, packed_bytes, latency_ms_batch1, "
    "latency_ms_batch64, size_ratio, speedup_batch1, runtime, training_seconds"
)


def test_the_columns_are_the_promised_ones_in_their_order(run):
    table = comparison_table(run.evaluations, run.latency)
    assert ", ".join(table.columns) == PROMISED
    assert list(table["stage"]) == list(run.evaluations)


def test_ratios_are_against_the_teacher(run):
    table = comparison_table(run.evaluations, run.latency).set_index("stage")
    assert table.loc["teacher", ["accuracy_drop", "size_ratio", "speedup_batch1"]].tolist() == [
        0,
        1,
        1,
    ]
    assert table.loc["quantized", "size_ratio"] == pytest.approx(1_102_340 / 46_720)
    assert table.loc["quantized", "accuracy_drop"] == pytest.approx(0.943 - 0.919)
    medians = run.latency.groupby(["stage", "batch_size"])["latency_ms"].median()
    assert table.loc["pruned", "latency_ms_batch64"] == pytest.approx(medians["pruned", 64])
    assert table.loc["pruned", "speedup_batch1"] == pytest.approx(
        medians["teacher", 1] / medians["pruned", 1]
    )


def test_what_was_not_measured_is_missing_and_not_zero(run):
    run.evaluations["pruned"] |= {"macs": None, "file_bytes": None, "accuracy": math.nan}
    del run.evaluations["pruned"]["runtime"]
    latency = run.latency[run.latency["stage"] != "pruned"]
    row = comparison_table(run.evaluations, latency).set_index("stage").loc["pruned"]
    for column in ("macs", "file_bytes", "size_ratio", "accuracy_drop", "speedup_batch1"):
        assert pd.isna(row[column]), column
    assert row["runtime"] == ""
    assert row["parameters"] == 40_130


def test_counts_stay_whole_numbers_beside_missing_ones(run):
    run.evaluations["student"]["parameters"] = None
    text = comparison_table(run.evaluations, run.latency).to_csv(index=False)
    assert "271824," in text
    assert "271824.0" not in text


def test_the_table_survives_a_csv_file(run):
    table = comparison_table(run.evaluations, run.latency)
    read = pd.read_csv(io.StringIO(table.to_csv(index=False)))
    pd.testing.assert_frame_equal(read, table, check_dtype=False)


def test_a_file_of_no_bytes_gives_no_ratio(run):
    run.evaluations["student"]["file_bytes"] = 0
    table = comparison_table(run.evaluations, run.latency).set_index("stage")
    assert math.isnan(table.loc["student", "size_ratio"])


def test_without_a_teacher_the_first_stage_is_the_reference(run):
    del run.evaluations["teacher"]
    table = comparison_table(run.evaluations, run.latency)
    assert table.loc[0, "size_ratio"] == 1


def test_without_stages_there_is_no_reference():
    with pytest.raises(ValueError, match="at least one stage, got none"):
        reference_stage([])


def test_a_latency_table_without_a_column_is_refused_by_name(run):
    with pytest.raises(ValueError, match=r"latency table lacks the columns \['repeat'\]"):
        comparison_table(run.evaluations, run.latency.drop(columns="repeat"))
