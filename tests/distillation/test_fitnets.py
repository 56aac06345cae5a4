import numpy as np
import pytest
import torch

from model_compression.distillation.fitnets import FitNetsSettings, fitnets_loss
from model_compression.distillation.method import DistillationError, Observed
from model_compression.distillation.transfer import Probe

LOGITS = torch.zeros(4, 2)


def seen(*maps: torch.Tensor) -> Observed:
    return Observed(LOGITS, maps)


def test_the_hint_is_the_mean_square_written_in_numpy():
    student, teacher = torch.randn(2, 4, 3, 5, 5, dtype=torch.float64)
    expected = np.mean((student.numpy() - teacher.numpy()) ** 2)
    assert fitnets_loss(student, teacher).item() == pytest.approx(expected, rel=1e-12)


def test_the_hint_is_zero_at_equality():
    map_ = torch.randn(4, 3, 5, 5)
    assert fitnets_loss(map_, map_).item() == 0


def test_the_hint_is_finite_in_bfloat16_at_extremes():
    student = torch.full((2, 1, 2, 2), 1e4, dtype=torch.bfloat16, requires_grad=True)
    loss = fitnets_loss(student, -student.detach())
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(student.grad).all()


@pytest.mark.parametrize(("hint", "expected"), [(None, 1), (0, 0), (1, 1), (2, 2)])
def test_the_hint_is_the_middle_layer_unless_another_is_named(hint, expected):
    student = [torch.randn(4, 2, 4, 4, requires_grad=True) for _ in range(3)]
    teacher = seen(*(torch.randn(4, 3, 4, 4) for _ in range(3)))
    settings = FitNetsSettings(method="fitnets", hint=hint)
    transfer = settings.transfer(Probe(seen(*student), teacher, torch.zeros(4)))
    transfer(seen(*student), teacher, None).backward()
    assert [map_.grad is not None for map_ in student] == [i == expected for i in range(3)]


def test_a_hint_beyond_the_observed_layers_is_refused_with_their_number():
    probe = Probe(seen(torch.zeros(2, 1, 1, 1)), seen(torch.zeros(2, 1, 1, 1)), torch.zeros(2))
    with pytest.raises(DistillationError, match="below 1, not 3"):
        FitNetsSettings(method="fitnets", hint=3).transfer(probe)


@pytest.mark.parametrize("rectified", [True, False])
def test_the_regressor_has_the_non_linearity_of_the_hint(rectified):
    student, teacher = torch.randn(8, 2, 4, 4), torch.randn(8, 3, 4, 4)
    teacher = teacher.relu() if rectified else teacher
    transfer = FitNetsSettings(method="fitnets").transfer(
        Probe(seen(student), seen(teacher), torch.zeros(8))
    )
    assert bool((transfer.regressor(student) >= 0).all()) == rectified
