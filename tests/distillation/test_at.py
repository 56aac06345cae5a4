import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from model_compression.distillation.at import AtSettings, at_loss
from model_compression.distillation.method import Observed
from model_compression.distillation.transfer import Probe

# Far enough from zero that a map's norm is not rounding.
ACTIVATIONS = arrays(
    np.float64, (2, 3, 4, 4), elements=st.floats(0.1, 5) | st.floats(-5, -0.1), fill=st.nothing()
)


def attention(maps: np.ndarray, power: float) -> np.ndarray:
    flat = (np.abs(maps) ** power).sum(axis=1).reshape(len(maps), -1)
    return flat / np.sqrt((flat**2).sum(axis=1, keepdims=True))


@given(student=ACTIVATIONS, teacher=ACTIVATIONS, power=st.floats(1, 4))
def test_at_is_the_formula_written_in_numpy(student, teacher, power):
    expected = np.mean((attention(student, power) - attention(teacher, power)) ** 2)
    measured = at_loss(torch.from_numpy(student), torch.from_numpy(teacher), power)
    assert measured.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_attention_of_a_larger_map_is_averaged_down():
    student, teacher = torch.randn(2, 3, 4, 4).double(), torch.randn(2, 5, 2, 2).double()
    blocks = (student.numpy() ** 2).sum(axis=1).reshape(2, 2, 2, 2, 2).mean(axis=(2, 4))
    q = blocks.reshape(2, -1) / np.linalg.norm(blocks.reshape(2, -1), axis=1, keepdims=True)
    expected = np.mean((q - attention(teacher.numpy(), 2)) ** 2)
    assert at_loss(student, teacher).item() == pytest.approx(expected, rel=1e-9)
    assert at_loss(teacher, student).item() == pytest.approx(expected, rel=1e-9)


@given(maps=ACTIVATIONS, scale=st.floats(0.01, 100), order=st.permutations(range(3)))
def test_at_is_blind_to_scale_sign_and_order_of_channels(maps, scale, order):
    tensor = torch.from_numpy(maps)
    scales = torch.tensor([scale, -1.0], dtype=torch.float64)[:, None, None, None]
    assert at_loss(tensor, scales * tensor[:, order]).item() == pytest.approx(0, abs=1e-12)


def test_at_sees_where_a_map_is_large():
    student, teacher = torch.zeros(2, 1, 1, 2, 2)
    student[..., 0, 0] = 1
    teacher[..., 1, 1] = 1
    # Two unit vectors at right angles: 2 / 4 positions.
    assert at_loss(student, teacher).item() == pytest.approx(0.5)


def test_layers_are_summed_and_the_power_is_used():
    student, teacher = torch.randn(2, 3, 2, 4, 4), torch.randn(2, 3, 2, 4, 4)
    seen = [Observed(torch.zeros(3, 2), tuple(maps)) for maps in (student, teacher)]
    transfer = AtSettings(method="at", weight=10, power=3).transfer(Probe(*seen, torch.zeros(3)))
    expected = 10 * sum(at_loss(s, t, 3) for s, t in zip(student, teacher, strict=True))
    torch.testing.assert_close(transfer(*seen, None), expected)
