import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from model_compression.distillation.method import Observed
from model_compression.distillation.sp import SpSettings, sp_loss
from model_compression.distillation.transfer import Probe

ACTIVATIONS = arrays(np.float64, (4, 2, 3, 3), elements=st.floats(0.1, 5), fill=st.nothing())


def similarities(activations: np.ndarray) -> np.ndarray:
    rows = activations.reshape(len(activations), -1)
    gram = np.einsum("id,jd->ij", rows, rows)
    return gram / np.sqrt((gram**2).sum(axis=1, keepdims=True))


@given(student=ACTIVATIONS, teacher=ACTIVATIONS)
def test_sp_is_the_formula_written_in_numpy(student, teacher):
    difference = similarities(teacher) - similarities(student)
    expected = (difference**2).sum() / 4**2
    measured = sp_loss(torch.from_numpy(student), torch.from_numpy(teacher))
    assert measured.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(activations=ACTIVATIONS, scale=st.floats(0.01, 100), seed=st.integers(0, 100))
def test_sp_is_blind_to_scale_and_rotation_of_the_activations(activations, scale, seed):
    generator = torch.Generator().manual_seed(seed)
    rotation = torch.linalg.qr(torch.randn(18, 18, generator=generator).double()).Q
    tensor = torch.from_numpy(activations)
    turned = scale * tensor.flatten(1) @ rotation
    assert sp_loss(tensor, turned).item() == pytest.approx(0, abs=1e-12)


def test_activations_of_any_shape_are_compared():
    student, teacher = torch.randn(4, 2, 5, 5), torch.randn(4, 7, 1, 3)
    assert sp_loss(student, teacher) > 0


def test_the_last_layer_is_compared():
    student, teacher = torch.randn(2, 4, 3, 2, 2), torch.randn(2, 4, 3, 2, 2)
    seen = [Observed(torch.zeros(4, 2), tuple(maps)) for maps in (student, teacher)]
    transfer = SpSettings(method="sp", weight=10).transfer(Probe(*seen, torch.zeros(4)))
    torch.testing.assert_close(transfer(*seen, None), 10 * sp_loss(student[1], teacher[1]))
