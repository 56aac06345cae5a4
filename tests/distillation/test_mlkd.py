import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import softmax
from scipy.stats import zscore

from model_compression.distillation.method import Observed
from model_compression.distillation.mlkd import MlkdSettings, gram_loss, mlkd_loss
from model_compression.distillation.transfer import Probe
from model_compression.images import Batch

LOGITS = arrays(np.float64, (4, 5), elements=st.floats(-20, 20))
TEMPERATURES = st.lists(st.floats(1, 10), min_size=1, max_size=3).map(tuple)


def instances(student, teacher, temperature):
    p, q = softmax(teacher / temperature, axis=1), softmax(student / temperature, axis=1)
    return temperature**2 * (p * np.log(p / q)).sum() / len(p)


def relations(student, teacher, temperature):
    p, q = softmax(teacher / temperature, axis=1), softmax(student / temperature, axis=1)
    images = np.linalg.norm(p @ p.T - q @ q.T) ** 2
    classes = np.linalg.norm(p.T @ p - q.T @ q) ** 2
    return (images + classes) * p.shape[1] / p.shape[0] ** 2


@given(student=LOGITS, teacher=LOGITS, temperatures=TEMPERATURES)
def test_mlkd_is_the_formula_written_in_numpy(student, teacher, temperatures):
    expected = np.mean(
        [instances(student, teacher, t) + relations(student, teacher, t) for t in temperatures]
    )
    measured = mlkd_loss(torch.from_numpy(student), torch.from_numpy(teacher), temperatures)
    assert measured.item() == pytest.approx(expected, rel=1e-6, abs=1e-6)


@given(seed=st.integers(0, 10_000), temperatures=TEMPERATURES)
def test_standardised_mlkd_compares_z_scores_image_by_image_and_logits_elsewhere(
    seed, temperatures
):
    student, teacher = np.random.default_rng(seed).normal(0, 5, (2, 4, 5))
    z_s, z_t = (zscore(logits, axis=1, ddof=1) for logits in (student, teacher))
    expected = np.mean(
        [instances(z_s, z_t, t) + relations(student, teacher, t) for t in temperatures]
    )
    measured = mlkd_loss(
        torch.from_numpy(student), torch.from_numpy(teacher), temperatures, standardised=True
    )
    assert measured.item() == pytest.approx(expected, rel=1e-5, abs=1e-6)


@given(logits=LOGITS, temperatures=TEMPERATURES, shift=st.floats(-5, 5))
def test_mlkd_is_zero_at_equality_and_blind_to_a_shift(logits, temperatures, shift):
    tensor = torch.from_numpy(logits)
    loss = mlkd_loss(tensor + shift, tensor, temperatures)
    assert loss.item() == pytest.approx(0, abs=1e-8)


@given(student=LOGITS, teacher=LOGITS, images=st.permutations(range(4)))
def test_mlkd_is_blind_to_the_order_of_the_batch_and_of_the_classes(student, teacher, images):
    z_s, z_t = torch.from_numpy(student), torch.from_numpy(teacher)
    classes = [4, *images]
    expected = mlkd_loss(z_s, z_t)
    torch.testing.assert_close(mlkd_loss(z_s[images], z_t[images]), expected)
    torch.testing.assert_close(mlkd_loss(z_s[:, classes], z_t[:, classes]), expected)


@given(student=LOGITS, teacher=LOGITS)
def test_mlkd_of_the_batch_twice_is_that_of_the_batch(student, teacher):
    z_s, z_t = torch.from_numpy(student), torch.from_numpy(teacher)
    torch.testing.assert_close(
        mlkd_loss(torch.cat([z_s, z_s]), torch.cat([z_t, z_t])), mlkd_loss(z_s, z_t)
    )


def test_inner_products_are_blind_to_a_rotation():
    student, teacher = torch.randn(2, 4, 5, dtype=torch.float64)
    rotation, _ = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64))
    torch.testing.assert_close(gram_loss(student @ rotation, teacher), gram_loss(student, teacher))
    assert gram_loss(student @ rotation, student).item() == pytest.approx(0, abs=1e-12)


def test_mlkd_of_extreme_logits_is_finite_in_bfloat16():
    student = torch.tensor([[1e4, -1e4, 0.0]], dtype=torch.bfloat16, requires_grad=True)
    teacher = torch.tensor([[-1e4, 1e4, 0.0]], dtype=torch.bfloat16)
    loss = mlkd_loss(student, teacher)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(student.grad).all()


@pytest.mark.parametrize("standardise", [False, True])
def test_transfer_is_the_weighted_loss_and_reaches_the_student_alone(standardise):
    student, teacher = torch.randn(2, 3, 4).unbind()
    student.requires_grad_(), teacher.requires_grad_()
    batch = Batch(torch.zeros(3, 1, 1, 1), torch.tensor([0, 2, 1]), torch.arange(3), epoch=0)
    shown = Observed(student), Observed(teacher)
    settings = MlkdSettings(method="mlkd", weight=3, temperatures=(2, 5), standardise=standardise)
    loss = settings.transfer(Probe(*shown, batch.labels))(*shown, batch)
    loss.backward()
    torch.testing.assert_close(loss, 3 * mlkd_loss(student, teacher, (2, 5), standardise))
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None
