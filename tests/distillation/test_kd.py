import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import log_softmax

from model_compression.distillation.kd import KdSettings
from model_compression.distillation.method import Observed
from model_compression.distillation.soft_targets import kd_loss
from model_compression.distillation.standardisation import standardise
from model_compression.distillation.transfer import Probe
from model_compression.images import Batch

LOGITS = arrays(np.float64, (4, 5), elements=st.floats(-30, 30))
TEMPERATURE = st.floats(0.5, 20)


@given(student=LOGITS, teacher=LOGITS, temperature=TEMPERATURE)
def test_kd_is_the_formula_written_in_numpy(student, teacher, temperature):
    log_p = log_softmax(teacher / temperature, axis=1)
    log_q = log_softmax(student / temperature, axis=1)
    expected = temperature**2 * (np.exp(log_p) * (log_p - log_q)).sum(axis=1).mean()
    measured = kd_loss(torch.from_numpy(student), torch.from_numpy(teacher), temperature)
    assert measured.item() == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(logits=LOGITS, temperature=TEMPERATURE, shift=st.floats(-5, 5))
def test_kd_is_zero_at_equality_and_blind_to_a_shift(logits, temperature, shift):
    tensor = torch.from_numpy(logits)
    assert kd_loss(tensor, tensor + shift, temperature).item() == pytest.approx(0, abs=1e-8)


def test_kd_of_extreme_logits_is_finite_in_bfloat16():
    student = torch.tensor([[1e4, -1e4, 0.0]], dtype=torch.bfloat16, requires_grad=True)
    teacher = torch.tensor([[-1e4, 1e4, 0.0]], dtype=torch.bfloat16)
    loss = kd_loss(student, teacher, 4.0)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(student.grad).all()


def test_temperature_squared_keeps_the_gradients_size():
    # Hinton et al., section 2.1: for high T the gradient tends to (z - v) / K, free of T.
    teacher = torch.tensor([[0.2, -0.1, -0.1]], dtype=torch.float64)
    gradients = []
    for temperature in (50.0, 100.0):
        student = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
        kd_loss(student, teacher, temperature).backward()
        gradients.append(student.grad)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-2, atol=0)
    torch.testing.assert_close(gradients[1], -teacher / 3, rtol=1e-2, atol=0)


@pytest.mark.parametrize("standardised", [False, True])
def test_settings_share_the_loss_between_labels_and_teacher(standardised):
    student, teacher = torch.randn(2, 3, 4).unbind()
    student.requires_grad_(), teacher.requires_grad_()
    batch = Batch(torch.zeros(3, 1, 1, 1), torch.tensor([0, 2, 1]), torch.arange(3), epoch=0)
    shown = Observed(student), Observed(teacher)
    settings = KdSettings(method="kd", temperature=3, alpha=0.7, standardise=standardised)
    assert settings.labels_weight == pytest.approx(0.3)
    loss = settings.transfer(Probe(*shown, batch.labels))(*shown, batch)
    loss.backward()
    compared = (standardise(student), standardise(teacher)) if standardised else (student, teacher)
    torch.testing.assert_close(loss, 0.7 * kd_loss(*compared, 3))
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None
