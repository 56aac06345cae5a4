import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import log_softmax, softmax

from model_compression.distillation.lwf import LwfSettings, labels_loss, lwf_loss
from model_compression.distillation.method import DistillationError, Observed, Pair
from model_compression.distillation.teacher import FrozenTeacher
from model_compression.distillation.transfer import Probe
from model_compression.images import Batch
from model_compression.models import ModelSettings, build_model
from model_compression.models.widen import widen_classifier

OLD, ALL = 3, 5
TEACHER = arrays(np.float64, (4, OLD), elements=st.floats(-20, 20))
STUDENT = arrays(np.float64, (4, ALL), elements=st.floats(-20, 20))
TEMPERATURE = st.floats(1, 20)


def cross_entropy_of_the_paper(student, teacher, temperature):
    """Equations 2-4: recorded and present probabilities to the power 1/T, renormalised."""
    recorded, present = softmax(teacher, axis=1), softmax(student[:, :OLD], axis=1)
    recorded, present = recorded ** (1 / temperature), present ** (1 / temperature)
    recorded /= recorded.sum(1, keepdims=True)
    present /= present.sum(1, keepdims=True)
    return -(recorded * np.log(present)).sum(1).mean()


def probe(old: int, classes: int, labels: list[int]) -> Probe:
    return Probe(
        Observed(torch.zeros(2, classes)), Observed(torch.zeros(2, old)), torch.tensor(labels)
    )


def tensors(*values):
    return map(torch.from_numpy, values)


@given(student=STUDENT, teacher=TEACHER, temperature=TEMPERATURE)
def test_it_is_the_papers_cross_entropy_less_the_teachers_entropy(student, teacher, temperature):
    entropy = cross_entropy_of_the_paper(teacher, teacher, temperature)
    expected = cross_entropy_of_the_paper(student, teacher, temperature) - entropy
    measured = lwf_loss(*tensors(student, teacher), temperature).item()
    assert measured == pytest.approx(temperature**2 * expected, rel=1e-6, abs=1e-6)


@given(student=STUDENT, labels=arrays(np.int64, (4,), elements=st.integers(OLD, ALL - 1)))
def test_the_labels_are_asked_for_among_the_new_classes(student, labels):
    expected = -log_softmax(student[:, OLD:], axis=1)[np.arange(4), labels - OLD].mean()
    assert labels_loss(*tensors(student, labels), OLD).item() == pytest.approx(expected)


@given(teacher=TEACHER, new=arrays(np.float64, (4, 2), elements=st.floats(-20, 20)))
def test_whoever_says_the_same_of_old_classes_may_say_anything_of_new_ones(teacher, new):
    student = np.concatenate((teacher, new), axis=1)
    assert lwf_loss(*tensors(student, teacher), 2.0).item() == pytest.approx(0, abs=1e-9)


@given(student=STUDENT, teacher=TEACHER, shift=st.floats(-9, 9))
def test_shifting_all_old_logits_changes_nothing(student, teacher, shift):
    shifted = student.copy()
    shifted[:, :OLD] += shift
    plain, moved = (lwf_loss(*tensors(z, teacher), 2.0).item() for z in (student, shifted))
    assert moved == pytest.approx(plain, abs=1e-6)


def test_the_gradient_goes_into_the_students_old_logits_alone():
    student = torch.randn(4, ALL, requires_grad=True)
    teacher = torch.randn(4, OLD, requires_grad=True)
    lwf_loss(student, teacher, 2.0).backward()
    assert teacher.grad is None
    assert student.grad[:, :OLD].abs().min() > 0
    assert torch.equal(student.grad[:, OLD:], torch.zeros(4, 2))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_extreme_logits_give_finite_losses_and_gradients(dtype):
    student = torch.tensor([[1e4, -1e4, 0, 1e4, 3]], dtype=dtype, requires_grad=True)
    teacher = torch.tensor([[-1e4, 1e4, 0]], dtype=dtype)
    loss = lwf_loss(student, teacher, 2.0) + labels_loss(student, torch.tensor([4]), OLD)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert student.grad.isfinite().all()


@pytest.mark.parametrize("over", ["all", "new"])
def test_the_objective_adds_up_labels_and_what_keeps_the_old_classes(over):
    torch.manual_seed(0)
    spec = ModelSettings(name="resnet8", options={"width": 4}).spec((1, 12, 12), OLD)
    old = build_model(spec).eval()
    student, wider = widen_classifier(old, spec, ALL)
    labels = torch.tensor([3, 4, 4, 3])
    batch = Batch(torch.randn(4, 1, 12, 12), labels, torch.arange(4), epoch=0)
    method = LwfSettings(method="lwf", weight=3.0, labels=0.5, temperature=1.5, labels_over=over)
    pair = Pair(FrozenTeacher(old, (1, 12, 12), OLD, "float32"), student, wider, labels)
    output = method.objective(pair)(batch, student.train())
    asked = output.logits if over == "all" else output.logits[:, OLD:]
    shift = 0 if over == "all" else OLD
    hard = torch.nn.functional.cross_entropy(asked, labels - shift)
    with torch.no_grad():
        soft = lwf_loss(output.logits, old(batch.images), 1.5)
    torch.testing.assert_close(output.loss, 0.5 * hard + 3.0 * soft)
    assert not list(method.objective(pair).parameters())


def test_before_the_first_step_the_widened_network_loses_nothing():
    torch.manual_seed(0)
    spec = ModelSettings(name="net").spec((1, 12, 12), OLD)
    old = build_model(spec).eval()
    images = torch.randn(4, 1, 12, 12)
    student, _ = widen_classifier(old, spec, ALL)
    assert lwf_loss(student(images), old(images), 2.0).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("over", "old", "classes", "labels", "message"),
    [
        ("all", 6, 5, [0], "teacher's 6 classes .* the student has 5: give it at least 6"),
        ("new", 6, 5, [0], "teacher's 6 classes .* the student has 5: give it at least 6"),
        ("new", 3, 4, [3], "two new classes or more .* student's 4 the teacher knows 3"),
        ("new", 3, 5, [4, 2], "new classes alone, 3 to 4, but some are of class 2"),
    ],
)
def test_classes_that_do_not_go_together_are_refused(over, old, classes, labels, message):
    with pytest.raises(DistillationError, match=message):
        LwfSettings(method="lwf", labels_over=over).transfer(probe(old, classes, labels))


def test_a_student_of_the_same_classes_is_distilled_at_the_papers_temperature():
    transfer = LwfSettings(method="lwf").transfer(probe(3, 3, [0, 1, 2]))
    student, teacher = torch.randn(4, 3), torch.randn(4, 3)
    batch = Batch(torch.zeros(4, 1, 1, 1), torch.zeros(4).long(), torch.arange(4), epoch=0)
    measured = transfer(Observed(student), Observed(teacher), batch)
    asked = torch.nn.functional.cross_entropy(student, batch.labels)
    torch.testing.assert_close(measured, asked + lwf_loss(student, teacher, 2.0))
