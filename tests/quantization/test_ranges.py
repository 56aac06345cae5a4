import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from model_compression.quantization.formula import affine_grid, fake_quantize, symmetric_grid
from model_compression.quantization.ranges import (
    BINS,
    Entropy,
    MinMax,
    Mse,
    Percentile,
    RangeCollector,
    RangeMethod,
    affine_limits,
    symmetric_limits,
    weight_scales,
)

METHODS = [MinMax(), Percentile(share=0.99), Mse(), Entropy()]
VALUES = st.floats(-1000, 1000, width=32).filter(lambda value: value == 0 or abs(value) > 1e-6)
VECTORS = arrays(np.float32, st.integers(1, 40), elements=VALUES).map(torch.from_numpy)
MATRICES = arrays(np.float32, (3, 7), elements=VALUES).map(torch.from_numpy)
ANY = st.sampled_from(METHODS)
BITS = st.integers(2, 16)
FEW = settings(max_examples=20)


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


def bell(count: int = 5000, seed: int = 0) -> Tensor:
    """Values with heavy tails, for which clipping pays."""
    return torch.randn(count, generator=torch.Generator().manual_seed(seed)) ** 3


def collected(x: Tensor, batches: int = 1) -> RangeCollector:
    collector = RangeCollector()
    for batch in x.chunk(batches):
        collector.update(batch)
    return collector


@settings(max_examples=6)
@given(x=MATRICES, bits=BITS, method=ANY)
def test_a_range_a_channel_is_each_channels_own_range(x, bits, method):
    together = symmetric_limits(x, bits, method, axis=0)
    assert torch.equal(together, torch.stack([symmetric_limits(row, bits, method) for row in x]))
    assert torch.equal(symmetric_limits(x.T, bits, method, axis=1), together)
    low, high = affine_limits(x.T, bits, method, axis=-1)
    apart = [affine_limits(row, bits, method) for row in x]
    assert torch.equal(low, torch.stack([ends[0] for ends in apart]))
    assert torch.equal(high, torch.stack([ends[1] for ends in apart]))


@FEW
@given(x=VECTORS, bits=BITS, method=ANY)
def test_a_range_lies_around_zero_and_within_the_extremes(x, bits, method):
    low, high = (end.item() for end in affine_limits(x, bits, method))
    assert min(x.min().item(), 0.0) <= low <= 0.0 <= high <= max(x.max().item(), 0.0)
    assert 0.0 <= symmetric_limits(x, bits, method) <= x.abs().max()


@FEW
@given(x=MATRICES, bits=BITS)
def test_the_mse_range_is_never_worse_than_min_max(x, bits):
    def errors(rounded: Tensor) -> Tensor:
        return (rounded.double() - x).square().sum(1)

    symmetric = symmetric_grid(x, bits, 0, symmetric_limits(x, bits, Mse(), 0))
    assert (
        errors(fake_quantize(x, symmetric)) <= errors(fake_quantize(x, symmetric_grid(x, bits, 0)))
    ).all()
    affine = affine_grid(x, bits, 0, affine_limits(x, bits, Mse(), 0))
    assert (
        errors(fake_quantize(x, affine)) <= errors(fake_quantize(x, affine_grid(x, bits, 0)))
    ).all()


@FEW
@given(x=VECTORS, share=st.floats(0.51, 1))
def test_a_percentile_is_numpys(x, share):
    low, high = affine_limits(x, 8, Percentile(share=share))
    slack = 1e-5 * x.abs().max().item()
    expected = np.quantile(x.double().numpy(), [1 - share, share])
    assert low.item() == pytest.approx(min(expected[0], 0), abs=slack)
    assert high.item() == pytest.approx(max(expected[1], 0), abs=slack)
    limit = symmetric_limits(x, 8, Percentile(share=share)).item()
    assert limit == pytest.approx(np.quantile(x.abs().double().numpy(), share), abs=slack)


def divergence(counts: np.ndarray, kept: int, levels: int) -> float:
    """KL(P || Q) as Migacz writes it, a bin at a time."""
    p = counts[:kept].astype(float)
    p[-1] += counts[kept:].sum()
    q = np.zeros(kept)
    for level in range(levels):
        group = slice(level * kept // levels, (level + 1) * kept // levels)
        occupied = counts[group] > 0
        q[group][occupied] = counts[group].sum() / max(occupied.sum(), 1)
    p, q = p / p.sum(), q / q.sum()
    if ((p > 0) & (q == 0)).any():
        return math.inf
    return float((p[p > 0] * np.log(p[p > 0] / q[p > 0])).sum())


def test_the_entropy_threshold_has_the_least_divergence_of_all():
    x = bell()
    width = 2.0 ** (math.frexp(x.abs().max().item())[1]) / BINS
    bins = np.floor(x.abs().double().numpy() / width).astype(int)
    counts = np.bincount(bins)
    kept = range(8, len(counts) + 1)
    best = kept[int(np.argmin([divergence(counts, number, 8) for number in kept]))]
    limit = symmetric_limits(x, 4, Entropy()).item()
    assert limit == pytest.approx(best * width, rel=1e-6)
    assert limit < 0.9 * x.abs().max()


def test_entropy_of_as_many_levels_as_bins_keeps_everything():
    x = bell()
    assert symmetric_limits(x, 13, Entropy()) == x.abs().max()


@FEW
@given(x=VECTORS, share=st.floats(0.51, 1))
def test_collected_extremes_are_exact_and_percentiles_true_to_a_bin(x, share):
    collector = collected(x, 3)
    assert collector.range(MinMax()) == tuple(end.item() for end in affine_limits(x, 8, MinMax()))
    assert collector.range(Percentile(share=1)) == collector.range(MinMax())
    bin_width = 2 * x.abs().max().item() / BINS
    expected = affine_limits(x, 8, Percentile(share=share))
    for end, exact in zip(collector.range(Percentile(share=share)), expected, strict=True):
        assert end == pytest.approx(exact.item(), abs=1.001 * bin_width)


@pytest.mark.parametrize("rectified", [False, True])
@pytest.mark.parametrize("bits", [4, 8])
def test_collected_ranges_are_as_good_as_those_of_all_values_at_once(bits: int, rectified: bool):
    x = bell().relu() if rectified else bell()
    collector = collected(x, 7)

    def error(low: float, high: float) -> float:
        grid = affine_grid(x, bits, limits=(torch.tensor(low), torch.tensor(high)))
        return (fake_quantize(x, grid) - x).square().mean().item()

    exact = error(*(end.item() for end in affine_limits(x, bits, Mse())))
    assert error(*collector.range(Mse(), bits)) == pytest.approx(exact, rel=0.02)
    expected = [end.item() for end in affine_limits(x, bits, Entropy())]
    assert collector.range(Entropy(), bits) == pytest.approx(expected)


def test_zeros_do_not_move_a_range_by_entropy_or_error():
    x = bell().relu()
    x = x[x > 0]
    with_zeros = torch.cat((x, torch.zeros(50_000)))
    for method in (Entropy(), Mse()):
        assert collected(with_zeros).range(method) == collected(x).range(method)


def test_all_zeros_have_an_empty_range():
    for method in METHODS:
        assert collected(torch.zeros(5)).range(method) == (0.0, 0.0)
        assert symmetric_limits(torch.zeros(5), 8, method) == 0


def test_the_method_is_told_apart_by_its_name():
    adapter: TypeAdapter[RangeMethod] = TypeAdapter(RangeMethod)
    chosen = adapter.validate_python({"method": "percentile", "share": 0.99})
    assert chosen == Percentile(share=0.99)
    for wrong in (
        {"method": "percentile", "share": 0.5},
        {"method": "mse", "candidates": 99},
        {"method": "guess"},
        {"method": "min_max", "share": 0.9},
    ):
        with pytest.raises(ValidationError):
            adapter.validate_python(wrong)


@pytest.mark.parametrize("shape", ["tails", "mostly_above"])
def test_a_symmetric_grid_gets_the_range_that_has_its_least_error(shape):
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(20_000, generator=generator).double()
    x = x.pow(3) if shape == "tails" else torch.nn.functional.gelu(2 * x)
    collector = RangeCollector()
    collector.update(x)

    def error(low: float, high: float) -> float:
        scale = max(-low / 128, high / 127)
        return (x.div(scale).round().clamp(-128, 127) * scale - x).square().sum().item()

    low, high = collector.range(Mse(), symmetric=True)
    assert x.min() - 1e-3 <= low < 0 < high <= x.max() + 1e-3
    largest = x.abs().max().item()
    limits = [largest * share / 400 for share in range(1, 401)]
    least = min(error(max(-limit, x.min().item()), min(limit, x.max().item())) for limit in limits)
    assert error(low, high) <= 1.05 * least
    assert error(low, high) < error(*collector.range(Mse()))


def test_other_methods_and_ranges_above_zero_are_those_of_an_affine_grid():
    collector = RangeCollector()
    collector.update(torch.randn(500, generator=torch.Generator().manual_seed(5)))
    for method in (MinMax(), Percentile(share=0.99), Entropy()):
        assert collector.range(method, symmetric=True) == collector.range(method)
    positive = RangeCollector()
    positive.update(torch.rand(500, generator=torch.Generator().manual_seed(6)))
    assert positive.range(Mse(), symmetric=True) == positive.range(Mse())
