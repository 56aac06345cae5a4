import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model_compression.distillation.cc import CcSettings, cc_loss
from model_compression.distillation.method import Observed
from model_compression.distillation.transfer import Probe

SEEDS = st.integers(0, 2**31)


def clouds(seed: int, n: int = 6, student: int = 3, teacher: int = 5):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, width, generator=generator) for width in (student, teacher)]


def rotation(width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.linalg.qr(torch.randn(width, width, generator=generator))[0]


def numpy_loss(student, teacher, gamma, order):
    def correlations(x):
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
        terms = [(2 * gamma) ** p / math.factorial(p) * (x @ x.T) ** p for p in range(order + 1)]
        return np.exp(-2 * gamma) * sum(terms)

    return ((correlations(teacher) - correlations(student)) ** 2).mean()


def numpy_gaussian_loss(student, teacher, gamma):
    def correlations(x):
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
        return np.exp(-gamma * ((x[:, None] - x[None]) ** 2).sum(-1))

    return ((correlations(teacher) - correlations(student)) ** 2).mean()


@given(seed=SEEDS, gamma=st.floats(0.1, 2), order=st.integers(1, 6), width=st.integers(2, 9))
def test_cc_is_the_taylor_series_written_in_numpy(seed, gamma, order, width):
    student, teacher = clouds(seed, student=width)
    expected = numpy_loss(student.double().numpy(), teacher.double().numpy(), gamma, order)
    measured = cc_loss(student, teacher, gamma, order).item()
    assert measured == pytest.approx(expected, rel=1e-4, abs=1e-9)


@given(seed=SEEDS, gamma=st.floats(0.1, 2))
def test_a_high_order_is_the_gaussian_kernel(seed, gamma):
    student, teacher = clouds(seed)
    expected = numpy_gaussian_loss(student.double().numpy(), teacher.double().numpy(), gamma)
    assert cc_loss(student, teacher, gamma, 25).item() == pytest.approx(expected, rel=1e-3)


@given(seed=SEEDS)
def test_embeddings_at_the_same_angles_cost_nothing_whatever_their_lengths(seed):
    student, _ = clouds(seed)
    lengths = torch.logspace(-3, 3, 6)[:, None]
    assert cc_loss(student, lengths * student @ rotation(3), 0.4, 2).item() < 1e-11


def test_embeddings_at_other_angles_cost_something():
    assert cc_loss(*clouds(0), 0.4, 2).item() > 0.01


@given(seed=SEEDS)
def test_cc_is_blind_to_lengths_rotation_and_order(seed):
    student, teacher = clouds(seed)
    expected = pytest.approx(cc_loss(student, teacher, 0.4, 2).item(), rel=1e-3)
    lengths = torch.logspace(-2, 2, 6)[:, None]
    order = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
    assert cc_loss(lengths * student @ rotation(3), teacher, 0.4, 2).item() == expected
    assert cc_loss(student, lengths * teacher @ rotation(5), 0.4, 2).item() == expected
    assert cc_loss(student[order], teacher[order], 0.4, 2).item() == expected


def test_extreme_and_zero_embeddings_in_bfloat16_are_finite():
    student = torch.tensor([[1e4, -1e4], [0, 0], [0, 1]], dtype=torch.bfloat16).requires_grad_()
    teacher = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, -1e4]], dtype=torch.bfloat16)
    loss = cc_loss(student, teacher, 0.4, 2)
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert torch.isfinite(student.grad).all()
    assert student.grad[1].abs().max() == 0


def test_gradient_goes_into_the_student_alone():
    student, teacher = (each.requires_grad_() for each in clouds(3))
    cc_loss(student, teacher, 0.4, 2).backward()
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None


def test_nothing_is_learned_beside_the_student(batch):
    student, teacher = (Observed(torch.zeros(8, 3), (), each) for each in clouds(4, n=8))
    transfer = CcSettings(method="cc").transfer(Probe(student, teacher, batch.labels))
    assert list(transfer.parameters()) == []
    expected = 100.0 * cc_loss(student.embedding, teacher.embedding, 0.4, 2)
    torch.testing.assert_close(transfer(student, teacher, batch), expected)
