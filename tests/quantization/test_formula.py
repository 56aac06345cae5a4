import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from model_compression.quantization.formula import (
    Grid,
    affine_grid,
    dequantize,
    fake_quantize,
    quantize,
    symmetric_grid,
)

VALUES = st.floats(-1000, 1000, width=32).filter(lambda value: value == 0 or abs(value) > 1e-6)
VECTORS = arrays(np.float32, st.integers(1, 20), elements=VALUES).map(torch.from_numpy)
BITS = st.integers(2, 16)
GRIDS = st.sampled_from([symmetric_grid, affine_grid])


@given(x=VECTORS, bits=BITS)
def test_symmetric_error_is_at_most_half_a_step(x: Tensor, bits: int):
    grid = symmetric_grid(x, bits)
    error = (fake_quantize(x, grid) - x).abs().max()
    assert error <= grid.scale * 0.501 + 1e-6 * x.abs().max()


@given(x=VECTORS, bits=BITS)
def test_affine_error_is_half_a_step_inside_and_one_at_the_rounded_ends(x: Tensor, bits: int):
    grid = affine_grid(x, bits)
    error = (fake_quantize(x, grid) - x).abs()
    ends = dequantize(torch.tensor([grid.smallest, grid.largest]), grid)
    inside = (x >= ends[0]) & (x <= ends[1])
    slack = 1e-5 * x.abs().max()
    assert (error[inside] <= grid.scale * 0.501 + slack).all()
    assert (error <= grid.scale * 1.001 + slack).all()


@given(x=VECTORS, bits=BITS, make=GRIDS)
def test_a_number_on_the_grid_stays_where_it_is(x: Tensor, bits: int, make):
    grid = make(x, bits)
    once = quantize(x, grid)
    assert torch.equal(quantize(dequantize(once, grid), grid), once)


@given(x=VECTORS, bits=BITS, make=GRIDS)
def test_quantization_keeps_the_order(x: Tensor, bits: int, make):
    ordered = x.sort().values
    assert (quantize(ordered, make(x, bits)).diff() >= 0).all()


@given(x=VECTORS, bits=BITS, make=GRIDS)
def test_zero_is_exact(x: Tensor, bits: int, make):
    assert fake_quantize(torch.zeros(1), make(x, bits)).item() == 0.0


@given(x=arrays(np.float32, (3, 4), elements=VALUES).map(torch.from_numpy), make=GRIDS)
def test_a_grid_a_channel_is_each_channels_own_grid(x: Tensor, make):
    together = fake_quantize(x, make(x, axis=0))
    apart = torch.stack([fake_quantize(row, make(row)) for row in x])
    assert torch.equal(together, apart)
    assert torch.equal(fake_quantize(x.T, make(x.T, axis=1)), apart.T)


def test_values_computed_by_hand():
    grid = symmetric_grid(torch.tensor([-1.0, 0.25, 3.0]), bits=3)  # integers -3..3, step 1
    assert quantize(torch.tensor([-9.0, -1.5, 0.5, 0.6, 9.0]), grid).tolist() == [-3, -2, 0, 1, 3]
    affine = affine_grid(torch.tensor([-1.0, 2.0]), bits=2)  # integers 0..3, step 1, zero at 1
    assert (affine.scale.item(), affine.zero_point.item()) == (1.0, 1.0)
    assert fake_quantize(torch.tensor([-1.2, 0.4, 7.0]), affine).tolist() == [-1.0, 0.0, 2.0]


@pytest.mark.parametrize("make", [symmetric_grid, affine_grid])
def test_an_all_zero_tensor_has_a_grid(make):
    grid = make(torch.zeros(4))
    assert isinstance(grid, Grid)
    assert fake_quantize(torch.zeros(4), grid).tolist() == [0.0] * 4


@pytest.mark.parametrize("bits", [1, 17])
def test_other_numbers_of_bits_are_refused(bits: int):
    with pytest.raises(ValueError, match=f"2 to 16 bits, not {bits}"):
        symmetric_grid(torch.ones(2), bits)


@pytest.mark.parametrize(
    ("x", "reason"), [(torch.empty(0), "empty"), (torch.tensor([1.0, torch.nan]), "not finite")]
)
def test_a_tensor_without_a_range_is_refused(x: Tensor, reason: str):
    with pytest.raises(ValueError, match=reason):
        affine_grid(x)


def test_a_given_range_decides_the_step_and_clips_beyond():
    x = torch.tensor([[-1.0, 0.25, 3.0], [0.5, 8.0, -8.0]])
    grid = symmetric_grid(x, 3, axis=0, limits=torch.tensor([1.5, 6.0]))
    assert grid.scale.tolist() == [[0.5], [2.0]]
    assert fake_quantize(x, grid).tolist() == [[-1.0, 0.0, 1.5], [0.0, 6.0, -6.0]]
    affine = affine_grid(x, 2, limits=(torch.tensor(1.0), torch.tensor(6.0)))  # zero is added
    assert (affine.scale.item(), affine.zero_point.item()) == (2.0, 0.0)


@given(x=VECTORS, bits=BITS)
def test_the_extremes_given_as_a_range_make_the_same_grid(x: Tensor, bits: int):
    for grid, expected in (
        (symmetric_grid(x, bits, limits=x.abs().max()), symmetric_grid(x, bits)),
        (affine_grid(x, bits, limits=(x.min(), x.max())), affine_grid(x, bits)),
    ):
        assert torch.equal(grid.scale, expected.scale)
        assert torch.equal(grid.zero_point, expected.zero_point)


def test_limits_that_are_none_are_refused():
    x = torch.ones(2, 3)
    with pytest.raises(ValueError, match=r"limits of shape \(2,\)"):
        symmetric_grid(x, 8, axis=0, limits=torch.ones(3))
    with pytest.raises(ValueError, match="0 or more"):
        symmetric_grid(x, 8, limits=torch.tensor(-1.0))
    with pytest.raises(ValueError, match="finite"):
        affine_grid(x, 8, limits=(torch.tensor(0.0), torch.tensor(torch.inf)))
    with pytest.raises(ValueError, match="above its high"):
        affine_grid(x, 8, limits=(torch.tensor(2.0), torch.tensor(1.0)))
