import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from model_compression.quantization.formula import (
    affine_grid,
    dequantize,
    fake_quantize,
    quantize,
    symmetric_grid,
)
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

VALUES = st.floats(-1000, 1000, width=32).filter(lambda value: value == 0 or abs(value) > 1e-6)
VECTORS = arrays(np.float32, st.integers(1, 40), elements=VALUES).map(torch.from_numpy)
MATRICES = arrays(np.float32, (3, 7), elements=VALUES).map(torch.from_numpy)
METHODS = (MinMax(), Percentile(share=0.9), Mse(), Entropy())
ANY = st.sampled_from(METHODS)
BITS = st.integers(2, 16)
FEW = settings(max_examples=30)


def bell(count: int = 5000, seed: int = 0) -> Tensor:
    """Values with heavy tails, for which clipping pays."""
    return torch.randn(count, generator=torch.Generator().manual_seed(seed)) ** 3


def collected(x: Tensor, batches: int = 1) -> RangeCollector:
    collector = RangeCollector()
    for batch in x.chunk(batches):
        collector.update(batch)
    return collector


@FEW
@given(x=VECTORS, bits=BITS, method=ANY)
def test_inside_of_a_symmetric_range_the_error_is_at_most_half_a_step(x, bits, method):
    limit = symmetric_limits(x, bits, method)
    grid = symmetric_grid(x, bits, limits=limit)
    inside = x[x.abs() <= limit]
    error = (fake_quantize(inside, grid) - inside).abs()
    assert (error <= grid.scale * 0.501 + 1e-6 * x.abs().max()).all()


@FEW
@given(x=VECTORS, bits=BITS, method=ANY)
def test_inside_of_an_affine_range_the_error_is_at_most_half_a_step(x, bits, method):
    grid = affine_grid(x, bits, limits=affine_limits(x, bits, method))
    # Rounding the zero point moves the range by less than a step.
    ends = dequantize(torch.tensor([grid.smallest, grid.largest]), grid)
    inside = x[(x >= ends[0]) & (x <= ends[1])]
    error = (fake_quantize(inside, grid) - inside).abs()
    assert (error <= grid.scale * 0.501 + 1e-5 * x.abs().max()).all()


@FEW
@given(x=VECTORS, bits=BITS, method=ANY, is_affine=st.booleans())
def test_with_a_chosen_range_quantization_is_idempotent_monotone_and_exact_at_zero(
    x, bits, method, is_affine
):
    if is_affine:
        grid = affine_grid(x, bits, limits=affine_limits(x, bits, method))
    else:
        grid = symmetric_grid(x, bits, limits=symmetric_limits(x, bits, method))
    integers = quantize(x.sort().values, grid)
    assert torch.equal(quantize(dequantize(integers, grid), grid), integers)
    assert (integers.diff() >= 0).all()
    assert fake_quantize(torch.zeros(1), grid).item() == 0.0


@FEW
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


def test_the_mse_range_clips_heavy_tails_and_gains_by_it():
    x = bell()
    limit = symmetric_limits(x, 4, Mse())
    assert 0.1 * x.abs().max() < limit < 0.9 * x.abs().max()
    clipped = (fake_quantize(x, symmetric_grid(x, 4, limits=limit)) - x).square().mean()
    whole = (fake_quantize(x, symmetric_grid(x, 4)) - x).square().mean()
    assert clipped < 0.7 * whole


@FEW
@given(x=MATRICES, bits=BITS)
def test_percentile_1_is_min_max(x, bits):
    for axis in (None, 0):
        assert torch.equal(
            symmetric_limits(x, bits, Percentile(share=1), axis),
            symmetric_limits(x, bits, MinMax(), axis),
        )
        for end, expected in zip(
            affine_limits(x, bits, Percentile(share=1), axis),
            affine_limits(x, bits, MinMax(), axis),
            strict=True,
        ):
            assert torch.equal(end, expected)


@FEW
@given(x=VECTORS, share=st.floats(0.51, 1))
def test_a_percentile_is_numpys(x, share):
    low, high = affine_limits(x, 8, Percentile(share=share))
    slack = 1e-5 * np.abs(x.numpy()).max()
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


def test_weight_scales_are_the_limits_over_the_largest_integer():
    weight = bell(4 * 2 * 9).view(4, 2, 3, 3)
    weight[2] = 0
    expected = weight.abs().amax((1, 2, 3)) / 7
    expected[2] = 1
    torch.testing.assert_close(weight_scales(weight, 4, MinMax()), expected)
    assert weight_scales(weight, 4, MinMax(), axis=None) == weight.abs().max() / 7
    for method in METHODS:
        assert weight_scales(weight, 4, method).shape == (4,)
        assert (weight_scales(weight, 4, method) <= expected).all()
        assert weight_scales(weight, 4, method, axis=None).shape == ()


@FEW
@given(
    x=VECTORS,
    parts=st.integers(1, 5),
    factor=st.sampled_from([1e-20, 1.0, 1e20]),
    method=ANY,
)
def test_a_collected_range_does_not_depend_on_the_batches(x, parts, factor, method):
    x = x * factor
    whole, split = collected(x), collected(x, parts)
    assert torch.equal(whole.counts, split.counts)
    assert whole.zeros + int(whole.counts.sum()) == x.numel()
    assert whole.range(method) == split.range(method)
    assert collected(x.flip(0), parts).range(method) == whole.range(method)


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


def test_values_without_a_range_are_refused():
    for x in (torch.empty(0), torch.tensor([1.0, math.inf]), torch.tensor([math.nan])):
        with pytest.raises(ValueError, match="empty|finite"):
            RangeCollector().update(x)
        with pytest.raises(ValueError, match="empty|finite"):
            weight_scales(x, 8, Mse())
    with pytest.raises(ValueError, match="never updated"):
        RangeCollector().range(MinMax())
    with pytest.raises(ValueError, match="2 to 10 bits, not 11"):
        collected(torch.ones(3)).range(Mse(), 11)
    with pytest.raises(ValueError, match="2 to 16 bits, not 17"):
        symmetric_limits(torch.ones(3), 17, Entropy())
