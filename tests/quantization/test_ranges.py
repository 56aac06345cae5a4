import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model_compression.quantization.formula import affine_grid, fake_quantize, symmetric_grid
from model_compression.quantization.ranges import (
    Entropy,
    MinMax,
    Mse,
    Percentile,
    RangeCollector,
    affine_limits,
    symmetric_limits,
    weight_scales,
)

METHODS = [MinMax(), Percentile(share=0.99), Mse(), Entropy()]


def values(seed: int = 0, *shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape or (6, 400), generator=generator)
    return x * torch.rand(len(x), generator=generator).view(-1, *(1,) * (x.ndim - 1)) ** 2 * 10


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("axis", [None, 0])
@given(bits=st.integers(2, 10), seed=st.integers(0, 50))
@settings(max_examples=8, deadline=None)
def test_inside_the_range_the_error_is_at_most_half_a_step(method, axis, bits, seed):
    x = values(seed)
    for grid in (
        symmetric_grid(x, bits, axis, symmetric_limits(x, bits, method, axis)),
        affine_grid(x, bits, axis, affine_limits(x, bits, method, axis)),
    ):
        rounded = fake_quantize(x, grid)
        low = (grid.smallest - grid.zero_point) * grid.scale
        high = (grid.largest - grid.zero_point) * grid.scale
        inside = (x >= low) & (x <= high)
        half = grid.scale.expand_as(x) / 2
        assert ((x - rounded).abs() <= half * 1.001 + 1e-7)[inside].all()
        torch.testing.assert_close(fake_quantize(rounded, grid), rounded)
        assert not fake_quantize(torch.zeros_like(x), grid).any()
        ordered = x.sort(dim=1).values
        assert (fake_quantize(ordered, grid).diff(dim=1) >= 0).all()


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_the_least_squared_error_is_never_more_than_that_of_everything(bits):
    x = values()

    def error(method) -> torch.Tensor:
        grid = symmetric_grid(x, bits, 0, symmetric_limits(x, bits, method, 0))
        return (x - fake_quantize(x, grid)).square().mean(1)

    assert (error(Mse()) <= error(MinMax())).all()
    if bits == 2:
        assert (error(Mse()) < 0.7 * error(MinMax())).all()


def test_a_percentile_is_the_quantile_and_all_of_it_is_everything():
    x = values()
    expected = torch.quantile(x.abs(), 0.99, dim=1)
    torch.testing.assert_close(symmetric_limits(x, 8, Percentile(share=0.99), 0), expected)
    for axis in (None, 0):
        everything = symmetric_limits(x, 8, MinMax(), axis)
        assert torch.equal(symmetric_limits(x, 8, Percentile(share=1.0), axis), everything)


def test_entropy_clips_long_tails_and_keeps_an_even_distribution():
    even = torch.linspace(-1, 1, 20_001)
    assert symmetric_limits(even, 8, Entropy()) == pytest.approx(1.0, abs=0.02)
    generator = torch.Generator().manual_seed(0)
    tails = torch.empty(100_000).exponential_(generator=generator) ** 1.5
    assert 0 < symmetric_limits(tails, 8, Entropy()) < 0.8 * tails.max()


def test_steps_of_a_weight_are_its_limit_over_the_largest_integer():
    weight = values(0, 4, 3, 3, 3)
    steps = weight_scales(weight, 4, MinMax())
    torch.testing.assert_close(steps, weight.abs().flatten(1).amax(1) / 7)
    assert weight_scales(weight, 4, MinMax(), None).shape == ()


@pytest.mark.parametrize("method", METHODS)
def test_a_collector_chooses_over_batches_what_is_chosen_over_all(method):
    batches = [values(seed, 50, 40).relu() * scale for seed, scale in enumerate((0.1, 5.0, 1.0))]
    collector = RangeCollector()
    for batch in batches:
        collector.update(batch)
    everything = torch.cat(batches).flatten()
    low, high = collector.range(method)
    expected_low, expected_high = affine_limits(everything, 8, method)
    width = everything.max().item() / 1024
    if not isinstance(method, Entropy):
        # Entropy leaves exact zeros out of the collector's histogram, so it may choose otherwise.
        assert (low, high) == pytest.approx(
            (expected_low.item(), expected_high.item()), abs=4 * width
        )
    assert low <= 0 <= high <= everything.max()


def test_a_collector_does_not_depend_on_how_values_came():
    x = values()
    one, many = RangeCollector(), RangeCollector()
    one.update(x)
    for row in x.flip(0):
        many.update(row)
    assert torch.equal(one.counts, many.counts)
    assert one.range(Mse()) == many.range(Mse())


def test_what_has_no_range_is_refused():
    with pytest.raises(ValueError, match="never updated"):
        RangeCollector().range(MinMax())
    with pytest.raises(ValueError, match="empty"):
        RangeCollector().update(torch.empty(0))
    with pytest.raises(ValueError, match="finite"):
        RangeCollector().update(torch.tensor([float("nan")]))
    with pytest.raises(ValueError, match="bits"):
        symmetric_limits(values(), 17, Mse())
