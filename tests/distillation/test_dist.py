import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import softmax

from model_compression.distillation.dist import DistSettings, dist_loss, relation_loss
from model_compression.distillation.method import Observed
from model_compression.distillation.transfer import Probe
from model_compression.images import Batch

TEMPERATURE = st.floats(2, 20)


def formula(student, teacher, temperature, beta, gamma):
    s, t = softmax(student / temperature, axis=1), softmax(teacher / temperature, axis=1)
    images = [1 - np.corrcoef(s[i], t[i])[0, 1] for i in range(s.shape[0])]
    classes = [1 - np.corrcoef(s[:, k], t[:, k])[0, 1] for k in range(s.shape[1])]
    return temperature**2 * (beta * np.mean(images) + gamma * np.mean(classes))


@given(
    seed=st.integers(0, 10_000),
    temperature=TEMPERATURE,
    beta=st.floats(0, 3),
    gamma=st.floats(0, 3),
)
def test_dist_is_the_formula_written_in_numpy(seed, temperature, beta, gamma):
    student, teacher = np.random.default_rng(seed).normal(0, 5, (2, 4, 5))
    expected = formula(student, teacher, temperature, beta, gamma)
    measured = dist_loss(
        torch.from_numpy(student), torch.from_numpy(teacher), temperature, beta, gamma
    )
    assert measured.item() == pytest.approx(expected, rel=1e-6, abs=1e-6)


@given(
    seed=st.integers(0, 10_000),
    scale=arrays(np.float64, (4, 1), elements=st.floats(0.1, 10)),
    shift=arrays(np.float64, (4, 1), elements=st.floats(-10, 10)),
)
def test_a_relation_is_blind_to_each_rows_own_scale_and_shift(seed, scale, shift):
    student, teacher = torch.from_numpy(np.random.default_rng(seed).normal(size=(2, 4, 5)))
    scale, shift = torch.from_numpy(scale), torch.from_numpy(shift)
    expected = relation_loss(student, teacher)
    torch.testing.assert_close(relation_loss(scale * student + shift, teacher), expected)
    torch.testing.assert_close(relation_loss(student, scale * teacher + shift), expected)


def test_a_relation_turned_round_is_the_worst():
    rows = torch.randn(4, 5, dtype=torch.float64)
    assert relation_loss(-rows, rows).item() == pytest.approx(2)
    assert relation_loss(torch.ones(4, 5, dtype=torch.float64), rows).item() == pytest.approx(1)


@given(seed=st.integers(0, 10_000), temperature=TEMPERATURE, shift=st.floats(-5, 5))
def test_dist_is_zero_at_equality_and_blind_to_a_shift(seed, temperature, shift):
    tensor = torch.from_numpy(np.random.default_rng(seed).normal(0, 5, (4, 5)))
    loss = dist_loss(tensor + shift, tensor, temperature)
    assert loss.item() == pytest.approx(0, abs=1e-6)


@given(seed=st.integers(0, 10_000), order=st.permutations(range(4)))
def test_dist_is_blind_to_the_order_of_the_batch_and_of_the_classes(seed, order):
    student, teacher = torch.from_numpy(np.random.default_rng(seed).normal(size=(2, 4, 4)))
    expected = dist_loss(student, teacher, 4)
    torch.testing.assert_close(dist_loss(student[order], teacher[order], 4), expected)
    torch.testing.assert_close(dist_loss(student[:, order], teacher[:, order], 4), expected)


@pytest.mark.parametrize("images", [1, 2])
def test_dist_of_extreme_logits_is_finite_in_bfloat16(images):
    student = torch.tensor([[1e4, -1e4, 0.0], [5.0, 5.0, 5.0]], dtype=torch.bfloat16)[:images]
    teacher = torch.tensor([[-1e4, 1e4, 0.0], [1.0, 2.0, 3.0]], dtype=torch.bfloat16)[:images]
    student.requires_grad_()
    loss = dist_loss(student, teacher, 4)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(student.grad).all()


def test_transfer_is_the_weighted_loss_and_reaches_the_student_alone():
    student, teacher = torch.randn(2, 3, 4).unbind()
    student.requires_grad_(), teacher.requires_grad_()
    batch = Batch(torch.zeros(3, 1, 1, 1), torch.tensor([0, 2, 1]), torch.arange(3), epoch=0)
    shown = Observed(student), Observed(teacher)
    settings = DistSettings(method="dist", weight=3, temperature=2, beta=0.5, gamma=6)
    loss = settings.transfer(Probe(*shown, batch.labels))(*shown, batch)
    loss.backward()
    torch.testing.assert_close(loss, 3 * dist_loss(student, teacher, 2, beta=0.5, gamma=6))
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None
