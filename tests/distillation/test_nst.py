import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model_compression.distillation.method import Observed
from model_compression.distillation.nst import NstSettings, nst_loss
from model_compression.distillation.transfer import Probe


def kernel_mean(left: np.ndarray, right: np.ndarray) -> float:
    return float(np.mean([[np.dot(x, y) ** 2 for y in right] for x in left]))


def mmd(student: np.ndarray, teacher: np.ndarray) -> float:
    """Of one image, (C, H·W) each."""
    s = student / np.linalg.norm(student, axis=1, keepdims=True)
    t = teacher / np.linalg.norm(teacher, axis=1, keepdims=True)
    return kernel_mean(t, t) + kernel_mean(s, s) - 2 * kernel_mean(s, t)


# Fewer positions than channels, and more: the two ways to compute it.
@pytest.mark.parametrize("side", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [(3, 5), (9, 2), (12, 12)])
def test_nst_is_the_formula_written_in_numpy(side, channels):
    generator = torch.Generator().manual_seed(side)
    student, teacher = (
        torch.randn(3, count, side, side, generator=generator).double() for count in channels
    )
    pairs = zip(student.flatten(2).numpy(), teacher.flatten(2).numpy(), strict=True)
    expected = np.mean([mmd(s, t) for s, t in pairs])
    assert nst_loss(student, teacher).item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(seed=st.integers(0, 1000), scale=st.floats(0.01, 100), order=st.permutations(range(6)))
@pytest.mark.parametrize("side", [2, 4])
def test_nst_is_blind_to_scale_sign_and_order_of_channels(side, seed, scale, order):
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(2, 6, side, side, generator=generator).double()
    scales = torch.tensor([scale, -scale, 1, 2, 3, 4], dtype=torch.float64)[:, None, None]
    assert nst_loss(maps, (scales * maps)[:, order]).item() == pytest.approx(0, abs=1e-12)


def test_repeated_channels_are_the_same_distribution():
    maps = torch.randn(2, 3, 4, 4).double()
    assert nst_loss(maps, maps.repeat(1, 2, 1, 1)).item() == pytest.approx(0, abs=1e-12)


def test_layers_are_summed():
    student, teacher = torch.randn(2, 3, 2, 4, 4), torch.randn(2, 3, 2, 4, 4)
    seen = [Observed(torch.zeros(3, 2), tuple(maps)) for maps in (student, teacher)]
    transfer = NstSettings(method="nst", weight=10).transfer(Probe(*seen, torch.zeros(3)))
    expected = 10 * sum(nst_loss(s, t) for s, t in zip(student, teacher, strict=True))
    torch.testing.assert_close(transfer(*seen, None), expected)
