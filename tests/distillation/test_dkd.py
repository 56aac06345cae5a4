import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import softmax

from model_compression.distillation.dkd import DkdSettings, dkd_loss
from model_compression.distillation.method import Observed
from model_compression.distillation.soft_targets import kd_loss
from model_compression.distillation.transfer import Probe
from model_compression.images import Batch

LOGITS = arrays(np.float64, (4, 5), elements=st.floats(-20, 20))
LABELS = arrays(np.int64, (4,), elements=st.integers(0, 4))
TEMPERATURE = st.floats(1, 20)


def divergence(p, q):
    return (p * np.log(p / q)).sum()


def formula(student, teacher, labels, temperature, alpha, beta):
    total = 0.0
    for z_s, z_t, label in zip(student, teacher, labels, strict=True):
        p_s, p_t = softmax(z_s / temperature), softmax(z_t / temperature)
        rest_s, rest_t = np.delete(p_s, label), np.delete(p_t, label)
        target = divergence(
            np.array([p_t[label], rest_t.sum()]), np.array([p_s[label], rest_s.sum()])
        )
        total += alpha * target + beta * divergence(rest_t / rest_t.sum(), rest_s / rest_s.sum())
    return temperature**2 * total / len(labels)


@given(
    student=LOGITS,
    teacher=LOGITS,
    labels=LABELS,
    temperature=TEMPERATURE,
    alpha=st.floats(0, 2),
    beta=st.floats(0, 10),
)
def test_dkd_is_the_formula_written_in_numpy(student, teacher, labels, temperature, alpha, beta):
    expected = formula(student, teacher, labels, temperature, alpha, beta)
    measured = dkd_loss(
        *map(torch.from_numpy, (student, teacher, labels)), temperature, alpha, beta
    )
    assert measured.item() == pytest.approx(expected, rel=1e-6, abs=1e-6)


@given(student=LOGITS, teacher=LOGITS, label=st.integers(0, 4), temperature=TEMPERATURE)
def test_kd_is_dkd_with_the_other_classes_weighed_by_the_teachers_doubt(
    student, teacher, label, temperature
):
    z_s, z_t = torch.from_numpy(student[:1]), torch.from_numpy(teacher[:1])
    doubt = 1 - torch.softmax(z_t / temperature, dim=1)[0, label].item()
    coupled = dkd_loss(z_s, z_t, torch.tensor([label]), temperature, alpha=1, beta=doubt)
    torch.testing.assert_close(coupled, kd_loss(z_s, z_t, temperature), rtol=1e-7, atol=1e-7)


@given(logits=LOGITS, labels=LABELS, temperature=TEMPERATURE, shift=st.floats(-5, 5))
def test_dkd_is_zero_at_equality_and_blind_to_a_shift(logits, labels, temperature, shift):
    tensor = torch.from_numpy(logits)
    loss = dkd_loss(tensor + shift, tensor, torch.from_numpy(labels), temperature)
    assert loss.item() == pytest.approx(0, abs=1e-8)


@given(student=LOGITS, teacher=LOGITS, labels=LABELS, change=st.floats(-10, 10))
def test_the_other_classes_part_does_not_see_the_labelled_class(student, teacher, labels, change):
    z_s, z_t, y = map(torch.from_numpy, (student, teacher, labels))
    moved = z_s.scatter_add(1, y[:, None], torch.full((4, 1), change, dtype=z_s.dtype))
    torch.testing.assert_close(
        dkd_loss(moved, z_t, y, 4, alpha=0, beta=1), dkd_loss(z_s, z_t, y, 4, alpha=0, beta=1)
    )


@given(student=LOGITS, teacher=LOGITS, order=st.permutations([1, 2, 3, 4]))
def test_the_labelled_class_part_does_not_see_how_the_others_share_the_rest(
    student, teacher, order
):
    z_s, z_t = map(torch.from_numpy, (student, teacher))
    y = torch.zeros(4, dtype=torch.int64)
    torch.testing.assert_close(
        dkd_loss(z_s[:, [0, *order]], z_t, y, 4, alpha=1, beta=0),
        dkd_loss(z_s, z_t, y, 4, alpha=1, beta=0),
    )


@given(student=LOGITS, teacher=LOGITS, labels=LABELS, order=st.permutations(range(4)))
def test_dkd_is_blind_to_the_order_of_the_batch(student, teacher, labels, order):
    tensors = [torch.from_numpy(array) for array in (student, teacher, labels)]
    torch.testing.assert_close(
        dkd_loss(*(tensor[order] for tensor in tensors), 4), dkd_loss(*tensors, 4)
    )


def test_of_two_classes_there_is_only_the_labelled_ones_part():
    student, teacher = torch.randn(2, 3, 2, dtype=torch.float64)
    labels = torch.tensor([0, 1, 1])
    torch.testing.assert_close(dkd_loss(student, teacher, labels, 4), kd_loss(student, teacher, 4))


@pytest.mark.parametrize("label", [0, 1, 2])
def test_dkd_of_extreme_logits_is_finite_in_bfloat16(label):
    student = torch.tensor([[1e4, -1e4, 0.0]], dtype=torch.bfloat16, requires_grad=True)
    teacher = torch.tensor([[-1e4, 1e4, 0.0]], dtype=torch.bfloat16)
    loss = dkd_loss(student, teacher, torch.tensor([label]), 4)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(student.grad).all()


def transferred(settings: DkdSettings, student, teacher, epoch: int):
    labels = torch.tensor([0, 2, 1])
    batch = Batch(torch.zeros(3, 1, 1, 1), labels, torch.arange(3), epoch)
    shown = Observed(student), Observed(teacher)
    return settings.transfer(Probe(*shown, labels))(*shown, batch)


def test_transfer_is_the_weighted_loss_and_reaches_the_student_alone():
    student, teacher = torch.randn(2, 3, 4).unbind()
    student.requires_grad_(), teacher.requires_grad_()
    settings = DkdSettings(
        method="dkd", weight=3, temperature=2, alpha=0.5, beta=6, warmup_epochs=0
    )
    loss = transferred(settings, student, teacher, epoch=0)
    loss.backward()
    expected = 3 * dkd_loss(student, teacher, torch.tensor([0, 2, 1]), 2, alpha=0.5, beta=6)
    torch.testing.assert_close(loss, expected)
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None


def test_dkd_warms_up_over_its_epochs():
    student, teacher = torch.randn(2, 3, 4).unbind()
    settings = DkdSettings(method="dkd", warmup_epochs=4)
    full = transferred(settings, student, teacher, epoch=3)
    torch.testing.assert_close(transferred(settings, student, teacher, epoch=0), full / 4)
    torch.testing.assert_close(transferred(settings, student, teacher, epoch=7), full)
