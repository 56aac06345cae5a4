import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from tests.distillation.conftest import pair_of, spec_of
from torch.nn import functional

from model_compression.distillation import (
    DistillationError,
    DistillationMethod,
    KdSettings,
    kd_loss,
)
from model_compression.distillation.fitnets import FitNetsSettings
from model_compression.distillation.sp import SpSettings
from model_compression.distillation.transfer import TransferObjective
from model_compression.distillation.vid import VidSettings
from model_compression.training import Objective


def method(**settings) -> DistillationMethod:
    return TypeAdapter(DistillationMethod).validate_python(settings)


def test_soft_targets_mix_labels_and_teacher_by_alpha(pair, batch):
    student = pair.student.eval()
    settings = KdSettings(method="kd", temperature=3, alpha=0.7)
    output = settings.objective(pair)(batch, student)
    with torch.no_grad():
        logits = student(batch.images)
        expected = 0.3 * functional.cross_entropy(logits, batch.labels) + 0.7 * kd_loss(
            logits, pair.teacher.module(batch.images), 3
        )
    torch.testing.assert_close(output.loss.detach(), expected)
    torch.testing.assert_close(output.logits.detach(), logits)


def test_a_feature_method_adds_its_weighted_loss_and_soft_targets(pair, batch):
    student = pair.student.eval()
    plain = method(method="sp", weight=5.0).objective(pair)(batch, student).loss
    without = method(method="sp", weight=5.0, labels=0.0).objective(pair)(batch, student).loss
    doubled = method(method="sp", weight=10.0, labels=0.0).objective(pair)(batch, student).loss
    softened = method(method="sp", weight=5.0, soft_targets={"temperature": 2, "weight": 0.5})
    with torch.no_grad():
        logits = student(batch.images)
        hard = functional.cross_entropy(logits, batch.labels)
        soft = kd_loss(logits, pair.teacher.module(batch.images), 2)
    torch.testing.assert_close(plain, without + hard)
    torch.testing.assert_close(doubled, 2 * without)
    torch.testing.assert_close(softened.objective(pair)(batch, student).loss, plain + 0.5 * soft)


def test_unknown_method_is_refused_with_the_known_ones():
    with pytest.raises(ValidationError, match=r"'none', 'teacher_free', 'kd'"):
        method(method="dk")


def test_an_objective_must_say_what_it_minimises(pair, batch):
    with pytest.raises(TypeError, match=r"Objective does not define forward"):
        Objective()(batch, pair.student)


def test_layers_by_default_are_the_last_stages_of_both(pair):
    objective = SpSettings(method="sp").objective(pair)
    assert isinstance(objective, TransferObjective)
    assert objective._taps.layers == ("stages.0", "stages.1", "stages.2")


def test_a_teacher_with_fewer_stages_is_compared_with_the_students_last(batch):
    teacher, student = spec_of("net"), spec_of("resnet8", width=4)
    pair, _ = pair_of(teacher, student, batch.labels)
    objective = VidSettings(method="vid").objective(pair)
    seen = pair.teacher.observe(batch).features
    assert isinstance(objective, TransferObjective)
    assert len(objective._taps.layers) == len(seen) == 3
    assert torch.isfinite(objective(batch, pair.student).loss)


def test_named_layers_decide_how_many_are_paired(pair, batch):
    settings = VidSettings(method="vid", teacher_layers=("stages.0.1", "stages.2"))
    objective = settings.objective(pair)
    assert isinstance(objective, TransferObjective)
    assert objective._taps.layers == ("stages.1", "stages.2")
    assert torch.isfinite(objective(batch, pair.student).loss)


def test_layers_that_cannot_be_paired_are_refused(pair):
    settings = VidSettings(
        method="vid", student_layers=("stages.0", "stages.1"), teacher_layers=("stages.2",)
    )
    with pytest.raises(DistillationError, match=r"student_layers names 2 and teacher_layers 1"):
        settings.objective(pair)


def test_more_student_layers_than_the_teacher_has_stages_are_refused(pair):
    layers = ("stem", "stages.0", "stages.1", "stages.2")
    with pytest.raises(DistillationError, match=r"sees 4 of the student .* 3 of the teacher"):
        VidSettings(method="vid", student_layers=layers).objective(pair)


@pytest.mark.parametrize("side", ["student_layers", "teacher_layers"])
def test_a_wrong_layer_is_refused_with_the_right_ones(pair, side):
    with pytest.raises(DistillationError, match=r"its stages end with stages\.0, stages\.1"):
        FitNetsSettings(method="fitnets", **{side: ("layer3",)}).objective(pair)


def test_logits_of_other_classes_are_refused(batch):
    student = spec_of("resnet8", width=4)
    teacher = student.model_copy(update={"classes": 5})
    pair, _ = pair_of(teacher, student, batch.labels)
    with pytest.raises(DistillationError, match=r"teacher knows 5 classes and the student 3"):
        KdSettings(method="kd").objective(pair)
    SpSettings(method="sp").objective(pair)  # compares no logits
