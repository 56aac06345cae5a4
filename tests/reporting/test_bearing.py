import pandas as pd
import pytest

from model_compression.reporting.bearing import bearing_sections


@pytest.fixture
def pruning(run):
    rows = [
        ("stem", 0.5, 0.5, 0.8, 0.1, run.evaluations["student"]["fingerprint"]),
        ("classifier", 0.5, 0.5, 0.9, 0.0, run.evaluations["student"]["fingerprint"]),
    ]
    columns = ["layer", "ratio", "removed", "accuracy", "accuracy_drop", "network"]
    return pd.DataFrame(rows, columns=columns)


@pytest.fixture
def bits(run):
    rows = [("stem", 4, 0.8, 0.1, run.evaluations["pruned"]["fingerprint"])]
    return pd.DataFrame(rows, columns=["layer", "bits", "accuracy", "accuracy_drop", "network"])


def test_studies_of_the_present_networks_are_drawn(run, pruning, bits):
    (section,) = bearing_sections(run.evaluations, pruning, bits)
    assert [chart.figure.layout.title.text for chart in section.blocks] == [
        "<b>Accuracy lost when one layer is pruned</b>",
        "<b>Accuracy lost with one layer in few bits</b>",
    ]
    assert "not shown" not in section.lead


def test_without_a_study_there_is_no_section(run, pruning):
    assert bearing_sections(run.evaluations) == []
    assert bearing_sections(run.evaluations, pruning.iloc[:0]) == []


def test_a_study_of_another_network_is_named_and_not_drawn(run, pruning, bits):
    pruning["network"] = "0123456789abcdef0123456789abcdef"
    (section,) = bearing_sections(run.evaluations, pruning, bits)
    assert len(section.blocks) == 1
    assert (
        "The table of pruning_sensitivity that was found is of another network "
        "(0123456789ab\u2026) than the student here, so it is not shown: "
        "kedro run --pipeline=pruning_sensitivity makes a new one."
    ) in section.lead


@pytest.mark.parametrize("how", ["no column", "two networks", "missing"])
def test_a_study_that_does_not_say_of_which_network_is_not_drawn(run, pruning, how):
    table = {
        "no column": pruning.drop(columns="network"),
        "two networks": pruning.assign(network=["a", "b"]),
        "missing": pruning.assign(network=None),
    }[how]
    (section,) = bearing_sections(run.evaluations, table)
    assert section.blocks == ()
    assert "does not say of which network it is" in section.lead
    assert "judged on validation images" not in section.lead


def test_a_study_of_a_stage_that_was_not_evaluated_is_not_drawn(run, pruning):
    del run.evaluations["student"]
    (section,) = bearing_sections(run.evaluations, pruning)
    assert section.blocks == ()
