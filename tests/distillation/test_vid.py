import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import norm

from model_compression.distillation.method import Observed
from model_compression.distillation.transfer import Probe
from model_compression.distillation.vid import VidSettings, vid_loss

MAPS = arrays(np.float64, (2, 3, 2, 2), elements=st.floats(-5, 5))
VARIANCES = arrays(np.float64, (3,), elements=st.floats(0.01, 10))


@given(mean=MAPS, teacher=MAPS, variance=VARIANCES)
def test_vid_is_the_gaussians_log_likelihood_but_for_its_constant(mean, teacher, variance):
    deviation = np.sqrt(variance)[:, None, None]
    expected = -norm.logpdf(teacher, mean, deviation).mean() - 0.5 * np.log(2 * np.pi)
    tensors = (torch.from_numpy(array) for array in (mean, teacher, variance))
    assert vid_loss(*tensors).item() == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(error=st.floats(0.1, 3))
def test_the_best_variance_is_the_mean_squared_error(error):
    # What is gained by learning it: a channel that can't be predicted counts less.
    variance = torch.tensor([error**2], dtype=torch.float64, requires_grad=True)
    teacher = torch.zeros(1, 1, 2, 2, dtype=torch.float64)
    vid_loss(teacher + error, teacher, variance).backward()
    assert variance.grad.item() == pytest.approx(0, abs=1e-9)


def test_at_unit_variance_vid_is_half_the_mean_squared_error():
    teacher, variance = torch.randn(2, 3, 4, 4), torch.ones(3)
    assert vid_loss(teacher, teacher, variance).item() == 0
    assert vid_loss(teacher + 1, teacher, variance).item() == pytest.approx(0.5, rel=1e-5)


def test_vid_is_finite_in_bfloat16_at_extremes():
    mean = torch.full((2, 3, 2, 2), 1e4, dtype=torch.bfloat16, requires_grad=True)
    loss = vid_loss(mean, -mean.detach(), torch.ones(3, dtype=torch.bfloat16))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(mean.grad).all()


@pytest.mark.parametrize("variance", [1e-3, 1.0, 5.0, 500.0])
def test_training_starts_at_the_variance_that_was_asked_for(variance):
    student, teacher = torch.randn(3, 2, 4, 4), torch.randn(3, 4, 4, 4)
    seen = [Observed(torch.zeros(3, 2), (maps,)) for maps in (student, teacher)]
    settings = VidSettings(method="vid", weight=1, initial_variance=variance)
    transfer = settings.transfer(Probe(*seen, torch.zeros(3)))
    expected = vid_loss(transfer.layers[0].mean(student), teacher, torch.full((4,), variance))
    torch.testing.assert_close(transfer(*seen, None), expected, rtol=1e-4, atol=1e-5)
