import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_compression.reporting import verdict
from model_compression.reporting.units import SPACE


def plain(text):
    return text.replace(SPACE, " ")


def judge(run, **changes):
    run.evaluations["quantized"] |= changes
    return verdict(run.evaluations, run.latency, "quantized")


@pytest.fixture
def latency(sample):
    """Makes times from the medians at batch 1 and 64 of every stage."""

    def make(*medians):
        return sample.latency(
            {
                (stage, batch_size): milliseconds
                for stage, pair in zip(sample.stages, medians, strict=True)
                for batch_size, milliseconds in zip((1, 64), pair, strict=True)
            }
        )

    return make


def test_the_verdict_says_what_was_gained_in_numbers_with_units(run):
    gain = plain(verdict(run.evaluations, run.latency, "quantized").gain)
    assert gain.startswith(
        "The quantized resnet8 is 23.6\u00d7 smaller than the teacher (46.7 kB instead of 1.10 MB)"
        " and classifies one image 7.3"
    )
    assert gain.endswith("\u00b5s).")


def test_the_summary_is_two_sentences_gain_and_cost(run):
    judged = verdict(run.evaluations, run.latency, "quantized")
    assert judged.summary == f"{judged.gain} {judged.cost}"
    # A point that ends a sentence is followed by a capital; none within a number is.
    assert len(re.findall(r"\. [A-Z]", judged.summary)) == 1


def test_the_verdict_is_on_the_stage_that_is_asked_for(run):
    judged = verdict(run.evaluations, run.latency, "pruned")
    assert plain(judged.gain).startswith("The pruned resnet8 is 6.65\u00d7 smaller")
    assert "(166 kB instead of 1.10 MB)" in plain(judged.gain)
    assert "It gets 92.0% of the 10,000 test images right, 2.30" in plain(judged.cost)


def test_a_stage_that_was_not_evaluated_is_refused(run):
    with pytest.raises(ValueError, match=r"is to be on smaller, but only \['teacher'"):
        verdict(run.evaluations, run.latency, "smaller")


def test_where_the_teacher_is_to_be_shipped_nothing_was_gained(run):
    judged = verdict(run.evaluations, run.latency, "teacher")
    assert judged.gain == "Nothing was gained that is worth shipping in the teacher's place."
    assert judged.cost.startswith("It gets 94.3% of the test images right")


def test_a_significant_loss_is_called_a_loss(run):
    assert plain(judge(run).cost) == (
        "It gets 91.9% of the 10,000 test images right, 2.40 percentage points below the "
        "teacher's 94.3%: a loss that chance does not explain (95% interval \u22122.82 to "
        "\u22121.92 pp, McNemar p < 0.001)."
    )


def test_a_significant_gain_is_called_a_gain(run):
    cost = plain(judge(run, accuracy=0.949, paired={"p_value": 0.004}).cost)
    assert "0.60 percentage points above the teacher's 94.3%" in cost
    assert "a gain that chance does not explain (McNemar p = 0.004)" in cost


@pytest.mark.parametrize("accuracy", [0.9425, 0.9435])
def test_an_insignificant_difference_is_neither_a_loss_nor_a_gain(run, accuracy):
    cost = plain(judge(run, accuracy=accuracy, paired={"p_value": 0.62}).cost)
    assert "cannot tell from chance (McNemar p = 0.62)" in cost
    assert "loss" not in cost
    assert "gain" not in cost


def test_different_accuracies_never_read_the_same(run):
    cost = judge(run, accuracy=0.9431, paired={"p_value": 1.0}).cost
    assert "94.31%" in cost
    assert "94.30%" in cost


def test_an_equal_accuracy_is_called_equal(run):
    equal = run.evaluations["teacher"]["accuracy"]
    cost = plain(judge(run, accuracy=equal, paired={"p_value": 1.0}).cost)
    assert cost.endswith("right, exactly as many as the teacher (McNemar p = 1.00).")
    assert plain(judge(run, paired=None).cost).endswith("exactly as many as the teacher.")


@pytest.mark.parametrize("paired", [None, {}, {"p_value": None}, {"p_value": math.nan}])
def test_without_a_paired_test_no_significance_is_claimed(run, paired):
    cost = judge(run, paired=paired).cost
    assert cost.endswith("; whether that is more than chance was not tested.")


def test_what_is_missing_is_said_to_be_missing(run):
    run.latency = run.latency[run.latency["stage"] != "quantized"]
    judged = judge(run, accuracy=None, file_bytes=None, images=None)
    assert "no measured file size" in judged.gain
    assert judged.gain.endswith("its latency was not measured.")
    assert "cannot be compared" in judged.cost
    assert "the test images" in judge(run, accuracy=0.9).cost


def test_a_larger_and_slower_file_is_not_sold_as_a_gain(run, latency):
    run.latency = latency((1, 9), (2, 9), (3, 9), (4, 9))
    gain = plain(judge(run, file_bytes=2_204_680).gain)
    assert "2.00\u00d7 larger than the teacher" in gain
    assert "and classifies one image 4." in gain
    assert "slower" in gain


def test_smaller_but_slower_is_joined_by_but(run, latency):
    run.latency = latency((1, 9), (2, 9), (3, 9), (4, 9))
    assert " but classifies one image " in judge(run).gain


def test_int8_slower_than_its_float_source_is_said(run, latency):
    run.latency = latency((0.08, 4), (0.06, 3), (0.02, 2), (0.035, 3))
    (warning,) = map(plain, judge(run).warnings)
    assert warning.startswith(
        "Int8 brings no speed here: against its float source (pruned), the quantized file is 1.7"
    )
    assert "slower for one image (3" in warning
    assert "slower at batch 64 (3" in warning


def test_int8_that_is_faster_only_in_batches_is_said(run, latency):
    run.latency = latency((0.08, 4), (0.06, 3), (0.02, 2), (0.035, 1))
    (warning,) = map(plain, judge(run).warnings)
    assert warning.startswith("Int8 is not faster everywhere: ")
    assert "slower for one image" in warning
    assert "faster at batch 64" in warning


def test_masks_that_speed_nothing_up_are_said_to(run, latency):
    run.latency = latency((8, 80), (4, 40), (4, 40), (1, 10))
    run.evaluations["pruned"]["nonzero_parameters"] = 10_000
    (warning,) = judge(run).warnings
    assert warning.startswith("The pruned file is not faster than the student one: it is as fast")
    assert "the same within the measurement's spread" in warning
    assert warning.endswith("Zeros among dense weights are multiplied like any others.")


def test_a_stage_that_is_faster_only_in_part_is_said_to(run, latency):
    run.latency = latency((8, 80), (4, 40), (5, 20), (1, 10))
    (warning,) = judge(run).warnings
    assert warning.startswith("The pruned file is not faster everywhere than the student one")
    assert "Zeros" not in warning


def test_a_measurement_without_any_noise_is_not_called_the_same_by_spread(run):
    run.latency = run.latency.groupby(["stage", "batch_size"], as_index=False).first()
    assert not judge(run).warnings
    assert "faster" in judge(run).gain


def test_layers_that_stayed_float_and_files_that_disagree_are_warned_of(run):
    warnings = judge(run, fused_layers=7, top1_agreement=0.98).warnings
    assert "Only 7 of the 10 quantizable layers" in warnings[0]
    assert "agree on only 98.0% of the test images" in warnings[1]


def test_nothing_is_warned_of_where_nothing_is_wrong(run):
    assert judge(run).warnings == ()


def test_a_teacher_alone_is_not_compared(run):
    run.evaluations = {"teacher": run.evaluations["teacher"]}
    judged = verdict(run.evaluations, run.latency, "teacher")
    assert judged.gain == "Only the teacher has been evaluated, so there is nothing to compare yet."
    assert judged.cost == "It gets 94.3% of the test images right (95% interval 93.8\u201394.8%)."
    run.evaluations["teacher"]["accuracy"] = None
    judged = verdict(run.evaluations, run.latency, "teacher")
    assert judged.cost == "Its accuracy was not measured."


numbers = st.one_of(st.none(), st.just(math.nan), st.floats(0, 1))


@given(numbers, numbers, st.one_of(st.none(), st.integers(0, 10**10)))
def test_whatever_is_stored_the_verdict_is_two_sentences_without_nan(
    sample, accuracy, p, file_bytes
):
    evaluations = {
        "teacher": {"accuracy": 0.9, "file_bytes": 1000},
        "student": {"accuracy": accuracy, "file_bytes": file_bytes, "paired": {"p_value": p}},
    }
    judged = verdict(evaluations, sample.latency({("teacher", 1): 1.0}), "student")
    for sentence in (judged.gain, judged.cost):
        assert sentence.endswith(".")
        assert "nan" not in sentence
        assert "None" not in sentence


def guarded(**changes):
    return {
        "max_accuracy_drop": 0.005,
        "certain": False,
        "images": 6000,
        "drop_before": {"drop": 0.02, "low": 0.015, "high": 0.025},
        "drop": {"drop": 0.004, "low": 0.001, "high": 0.007},
        "returned": [
            {"layer": "stem", "bits": 8, "loss_without": 0.31},
            {"layer": "classifier", "bits": 32, "loss_without": 0.29},
        ],
        "source_kept": False,
        **changes,
    }


def test_what_the_guard_gave_back_is_said_with_its_reason(run):
    warnings = [plain(each) for each in judge(run, guard=guarded()).warnings]
    assert warnings == [
        "The quantized network lost 2.00 percentage points (95% interval +1.50 to +2.50 pp) on the "
        "6,000 validation images, where 0.50 were allowed: more bits were given back to stem "
        "(8 bits; 0.3100), classifier (floats; 0.2900); the second figure is the validation loss "
        "with that layer alone in floats, by which they took their turns. It loses 0.40 now "
        "(95% interval +0.10 to +0.70 pp)."
    ]


def test_a_certain_guard_is_said_to_go_by_the_intervals_end(run):
    first = {"drop": 0.004, "low": 0.0018, "high": 0.0062}
    (warning,) = judge(run, guard=guarded(certain=True, drop_before=first)).warnings
    assert plain(warning).startswith(
        "The quantized network lost 0.40 percentage points (95% interval +0.18 to +0.62 pp) on the "
        "6,000 validation images, where that interval may end at 0.50: more bits were given back"
    )


def test_a_network_that_was_kept_in_floats_is_said_to_be(run):
    (warning,) = judge(run, guard=guarded(returned=[], source_kept=True)).warnings
    assert "as it was before that stage, in floats" in warning


def test_a_guard_that_had_nothing_to_do_is_silent(run):
    assert judge(run, guard=guarded(returned=[])).warnings == ()


def test_that_answers_depend_on_the_batch_is_said_with_what_it_changes(run):
    alone = {"batch_size": 500, "accuracy": 0.9188, "top1_agreement": 0.9991}
    (warning,) = judge(run, one_by_one=alone).warnings
    assert plain(warning).startswith(
        "An answer of the quantized file depends on the images that it is asked about with"
    )
    assert "batches of 500; asked one by one, the file gets 91.88%" in plain(warning)
    assert plain(warning).endswith("answers 99.9% of them alike.")
