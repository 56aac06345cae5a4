import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import log_softmax
from torch import nn

from model_compression.distillation.method import Pair
from model_compression.distillation.teacher_free import (
    TeacherFreeSettings,
    teacher_free_loss,
    virtual_teacher,
)
from model_compression.images import Batch
from model_compression.models import ModelSettings

LOGITS = arrays(np.float32, (4, 5), elements=st.floats(-20, 20, width=32))
LABELS = arrays(np.int64, (4,), elements=st.integers(0, 4))
PROBABILITY = st.floats(0.5, 0.999)


@given(student=LOGITS, labels=LABELS, temperature=st.floats(1, 20), probability=PROBABILITY)
def test_teacher_free_is_the_formula_written_in_numpy(student, labels, temperature, probability):
    u = np.full((4, 5), (1 - probability) / 4)
    u[np.arange(4), labels] = probability
    softened = u ** (1 / temperature)
    softened /= softened.sum(axis=1, keepdims=True)
    log_p = log_softmax(student.astype(np.float64) / temperature, axis=1)
    expected = temperature**2 * (softened * (np.log(softened) - log_p)).sum() / 4
    measured = teacher_free_loss(
        torch.from_numpy(student), torch.from_numpy(labels), temperature, probability
    )
    assert measured.item() == pytest.approx(expected, rel=1e-3, abs=1e-2)


@given(labels=LABELS, probability=PROBABILITY)
def test_the_virtual_teacher_is_right_and_has_no_other_opinion(labels, probability):
    taught = virtual_teacher(torch.from_numpy(labels), 5, probability).exp()
    torch.testing.assert_close(taught.sum(dim=1), torch.ones(4))
    right = taught.gather(1, torch.from_numpy(labels)[:, None])
    torch.testing.assert_close(right, torch.full((4, 1), probability))
    others = taught.scatter(1, torch.from_numpy(labels)[:, None], 0)
    torch.testing.assert_close(others[others > 0], torch.full((16,), (1 - probability) / 4))


def test_a_student_that_equals_the_virtual_teacher_has_nothing_to_learn_from_it():
    labels = torch.tensor([0, 2, 1])
    student = (virtual_teacher(labels, 4, 0.99) + 3).requires_grad_()
    loss = teacher_free_loss(student, labels, 20, 0.99)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-4)
    torch.testing.assert_close(student.grad, torch.zeros(3, 4), atol=1e-5, rtol=0)


def test_the_virtual_teacher_holds_back_a_student_that_is_too_sure():
    student = torch.tensor([[30.0, 0.0, 0.0]], requires_grad=True)
    teacher_free_loss(student, torch.tensor([0]), 20, 0.99).backward()
    assert student.grad[0, 0] > 0


def test_teacher_free_loss_of_extreme_logits_is_finite_in_bfloat16():
    student = torch.tensor([[1e4, -1e4, 0.0]], dtype=torch.bfloat16, requires_grad=True)
    loss = teacher_free_loss(student, torch.tensor([1]), 20, 0.99)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(student.grad).all()


class Untouchable:
    """A teacher that must not even be looked at."""

    def __getattr__(self, name):
        raise AssertionError(f"the teacher's {name} was used")


def test_the_objective_mixes_labels_and_virtual_teacher_by_alpha_and_asks_nobody():
    student = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    labels = torch.tensor([0, 1, 2, 0, 1])
    spec = ModelSettings(name="net").spec((1, 8, 8), 3)
    settings = TeacherFreeSettings(method="teacher_free", temperature=5, probability=0.9, alpha=0.3)
    objective = settings.objective(Pair(Untouchable(), student, spec, labels))
    batch = Batch(torch.randn(5, 1, 8, 8), labels, torch.arange(5), epoch=0)
    output = objective(batch, student)
    output.loss.backward()
    with torch.no_grad():
        logits = student(batch.images)
        expected = 0.7 * nn.functional.cross_entropy(logits, labels)
        expected += 0.3 * teacher_free_loss(logits, labels, 5, 0.9)
    torch.testing.assert_close(output.loss.detach(), expected)
    torch.testing.assert_close(output.logits.detach(), logits)
    assert all(parameter.grad is not None for parameter in student.parameters())
