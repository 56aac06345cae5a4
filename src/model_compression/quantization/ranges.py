"""Chooses the range that a grid covers: min–max, percentile, mean squared error or entropy.

Knows numbers and histograms; which tensors of a network have a range is others' business. A range
narrower than the values clips the rare large ones for a finer step for all others.
"""

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from model_compression.parameters import Parameters
from model_compression.quantization.formula import affine_grid, fake_quantize, symmetric_grid

BINS = 4096
"""Bins of a collector's histogram on each side of zero; the larger side uses more than half."""

MSE_BITS = 10
"""Most bits for which a histogram can judge an error: a step is then at least two bins wide."""


class MinMax(Parameters):
    """From the smallest value to the largest: nothing is clipped."""

    method: Literal["min_max"] = "min_max"


class Percentile(Parameters):
    """Clips a fixed share of the values."""

    method: Literal["percentile"] = "percentile"
    share: float = Field(default=0.9999, gt=0.5, le=1)
    """The quantile where clipping begins: of |x| for a symmetric range, at both tails else."""


class Mse(Parameters):
    """The range whose mean squared error of quantizing and dequantizing is the smallest."""

    method: Literal["mse"] = "mse"
    candidates: int = Field(default=100, ge=100)
    """Shares of the full range that are tried, ``k / candidates``."""


class Entropy(Parameters):
    """The least divergence between the values' distribution and the quantized one.

    Migacz, 8-bit Inference with TensorRT, GTC 2017. As published, |x| has ``2^(bits-1)`` levels,
    for unsigned numbers too.
    """

    method: Literal["entropy"] = "entropy"


RangeMethod = Annotated[MinMax | Percentile | Mse | Entropy, Field(discriminator="method")]
"""A choice of range by its ``method:``."""


def weight_scales(weight: Tensor, bits: int, method: RangeMethod, axis: int | None = 0) -> Tensor:
    """Steps of a weight's symmetric grid: ``limit / (2^(bits-1) - 1)``.

    Args:
        weight: Floats, at least one.
        bits: 2 to 16.
        method: How the limit is chosen. Entropy works channel by channel too, but it compares
            distributions: of a channel of few weights it sees little.
        axis: The output channels' axis; None for one step for all.

    Returns:
        Shape (out,), or () for ``axis=None``; 1 where all weights are 0.

    Raises:
        ValueError: If ``bits`` is out of range or ``weight`` is empty or not finite.
    """
    limits = symmetric_limits(weight, bits, method, axis)
    scale = symmetric_grid(weight, bits, axis, limits).scale
    return scale if axis is None else scale.flatten()


def symmetric_limits(x: Tensor, bits: int, method: RangeMethod, axis: int | None = None) -> Tensor:
    """Where ``|x|`` is clipped: the ``limits`` of ``formula.symmetric_grid``.

    Args:
        x: Floats, at least one.
        bits: 2 to 16.
        method: How the limit is chosen.
        axis: The channels' axis for a limit a channel; None for one a tensor.

    Returns:
        Shape (), or (C,) for the channels of ``axis``; at most ``max|x|``.

    Raises:
        ValueError: If ``bits`` is out of range or ``x`` is empty or not finite.
    """
    symmetric_grid(x, bits)  # refuses what has no grid
    rows = _rows(x.detach(), axis)
    largest = rows.abs().amax(1)
    match method:
        case MinMax():
            limits = largest
        case Percentile():
            limits = _quantile(rows.abs(), method.share)
        case Mse():
            limits = _mse_limits(rows, torch.ones_like(rows), largest, bits, method)
        case Entropy():
            limits = torch.minimum(_entropy_thresholds(rows, bits), largest)
    return limits[0] if axis is None else limits


def affine_limits(
    x: Tensor, bits: int, method: RangeMethod, axis: int | None = None
) -> tuple[Tensor, Tensor]:
    """Where ``x`` is clipped, low and high: the ``limits`` of ``formula.affine_grid``.

    Args:
        x: Floats, at least one.
        bits: 2 to 16.
        method: How the range is chosen. Entropy chooses one threshold of |x| for both ends.
        axis: The channels' axis for a range a channel; None for one a tensor.

    Returns:
        Two tensors of shape (), or (C,) for the channels of ``axis``. Zero lies between them, and
        they lie between the extremes of ``x`` and zero.

    Raises:
        ValueError: If ``bits`` is out of range or ``x`` is empty or not finite.
    """
    affine_grid(x, bits)  # refuses what has no grid
    rows = _rows(x.detach(), axis)
    low, high = rows.amin(1).clamp(max=0.0), rows.amax(1).clamp(min=0.0)
    match method:
        case MinMax():
            pass
        case Percentile():
            low = _quantile(rows, 1.0 - method.share).clamp(max=0.0)
            high = _quantile(rows, method.share).clamp(min=0.0)
        case Mse():
            low, high = _mse_ranges(rows, torch.ones_like(rows), (low, high), bits, method)
        case Entropy():
            threshold = _entropy_thresholds(rows, bits)
            low, high = torch.maximum(low, -threshold), torch.minimum(high, threshold)
    return (low[0], high[0]) if axis is None else (low, high)


class RangeCollector:
    """Sees a tensor batch by batch and chooses its range, in memory that doesn't grow.

    It keeps the exact extremes and a histogram whose bins are a power of two wide and start at
    zero. A value beyond it doubles the bins' width, merging pairs, as often as needed; so the
    histogram depends on the values alone, not on how they came in batches. Exact zeros are counted
    apart: any grid represents them exactly, and after a ReLU they would be half of a distribution.
    """

    def __init__(self) -> None:
        self.low = math.inf
        self.high = -math.inf
        self.zeros = 0
        self.counts = torch.zeros(2 * BINS, dtype=torch.int64)
        self.exponent = -100
        """A bin is ``2^exponent`` wide; narrower ones would have no inverse in float32."""

    def update(self, x: Tensor) -> None:
        """Takes in the values of ``x``, of any shape.

        Raises:
            ValueError: If ``x`` is empty or not finite.
        """
        values = x.detach().flatten().float()
        if values.numel() == 0:
            raise ValueError("A range needs values; the batch is empty.")
        low, high = torch.stack(torch.aminmax(values)).tolist()
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError(
                f"A range needs finite values; the batch runs from {low} to {high}. Look for the "
                "layer of the network that overflows."
            )
        self.low, self.high = min(self.low, low), max(self.high, high)
        _, exponent = math.frexp(max(-low, high))  # |x| < 2^exponent
        self._widen(exponent - int(math.log2(BINS)))
        # The width and its inverse are powers of two, so the product is exact.
        bins = values.mul(2.0**-self.exponent).floor_().to(torch.int64).add_(BINS)
        zeros = int((values == 0).sum())
        self.counts += torch.bincount(bins, minlength=2 * BINS).cpu()
        self.counts[BINS] -= zeros
        self.zeros += zeros

    def range(
        self, method: RangeMethod, bits: int = 8, symmetric: bool = False
    ) -> tuple[float, float]:
        """The range, (low, high), around zero, as ``affine_limits`` chooses it of all values.

        Percentiles are known to a bin's width, which is less than 1/2048 of the largest |x|.

        Args:
            method: How it is chosen.
            bits: 2 to 16 of an affine grid; 2 to 10 for the mean squared error, because a histogram
                doesn't show what happens within its bins. Min–max and percentile don't look at it.
            symmetric: Whether the grid has its zero point in the middle if the range reaches below
                zero; of these methods, the mean squared error alone depends on it.

        Raises:
            ValueError: If no values were seen, or ``bits`` is out of range.
        """
        if self.low > self.high:
            raise ValueError("A range needs values; this collector was never updated.")
        most = MSE_BITS if isinstance(method, Mse) else 16
        if not 2 <= bits <= most:
            raise ValueError(
                f"The method {method.method} chooses ranges for 2 to {most} bits, not {bits}. "
                "Choose min_max or percentile for more."
            )
        low, high = min(self.low, 0.0), max(self.high, 0.0)
        match method:
            case MinMax():
                return low, high
            case Percentile():
                return (
                    min(self._quantile(1.0 - method.share), 0.0),
                    max(self._quantile(method.share), 0.0),
                )
            case Mse():
                used = self.counts.nonzero().flatten()
                if used.numel() == 0:
                    return low, high
                values, counts = self._centres(used)[None], self.counts[used].double()[None]
                ends = (torch.tensor([low]).double(), torch.tensor([high]).double())
                if symmetric and low < 0:
                    limit = _mse_limits(
                        values, counts, torch.maximum(-ends[0], ends[1]), bits, method
                    )
                    return max(low, -limit.item()), min(high, limit.item())
                chosen = _mse_ranges(values, counts, ends, bits, method)
                return chosen[0].item(), chosen[1].item()
            case Entropy():
                threshold = self.threshold(bits)
                return max(low, -threshold), min(high, threshold)

    def threshold(self, bits: int) -> float:
        """The threshold of |x|, at most ``max|x|``, by entropy; everything where all are zero."""
        counts = self.counts[BINS:] + self.counts[:BINS].flip(0)
        used = counts.nonzero().flatten()
        largest = max(-self.low, self.high)
        if used.numel() == 0:
            return largest
        kept = _least_divergent(counts[: int(used[-1]) + 1].double(), 2 ** (bits - 1))
        return min(kept * 2.0**self.exponent, largest)

    def _widen(self, exponent: int) -> None:
        while self.exponent < exponent:
            if not self.counts.any():
                self.exponent = exponent
                return
            # Zero is the edge in the middle, so pairs never straddle it.
            self.counts = torch.nn.functional.pad(
                self.counts.view(-1, 2).sum(1), (BINS // 2, BINS // 2)
            )
            self.exponent += 1

    def _centres(self, bins: Tensor) -> Tensor:
        """The middles of bins, float64, no further out than any value was."""
        centres = (bins - BINS + 0.5).double() * 2.0**self.exponent
        return centres.clamp(self.low, self.high)

    def _quantile(self, share: float) -> float:
        """As ``_quantile`` of all values but for the width of a bin; the extremes are exact."""
        counts = torch.cat((self.counts[:BINS], torch.tensor([self.zeros]), self.counts[BINS:]))
        cumulative = counts.cumsum(0)
        position = share * (int(cumulative[-1]) - 1)
        first = math.floor(position)
        ranks = torch.tensor([first, math.ceil(position)])
        bins = torch.searchsorted(cumulative, ranks, right=True)
        # The entry of the zeros lies between the two sides and shifts the bins above it by one.
        values = torch.where(
            bins == BINS, 0.0, self._centres(torch.where(bins > BINS, bins - 1, bins))
        ).tolist()
        ends = {0: self.low, int(cumulative[-1]) - 1: self.high}
        below, above = (
            ends.get(rank, value) for rank, value in zip(ranks.tolist(), values, strict=True)
        )
        return float(below + (position - first) * (above - below))


def _rows(x: Tensor, axis: int | None) -> Tensor:
    """``x`` as (channels, values); one channel for ``axis=None``."""
    return x.reshape(1, -1) if axis is None else x.movedim(axis, 0).reshape(x.shape[axis], -1)


def _quantile(rows: Tensor, share: float) -> Tensor:
    """Each row's quantile, (C,), linear between order statistics; of any number of values."""
    ordered = rows.sort(1).values
    position = share * (rows.shape[1] - 1)
    below, above = ordered[:, math.floor(position)], ordered[:, math.ceil(position)]
    return below.lerp(above, position - math.floor(position))


def _mse_limits(rows: Tensor, counts: Tensor, largest: Tensor, bits: int, method: Mse) -> Tensor:
    """Each row's limit, (C,), with the least squared error; the widest of equals."""
    best = largest
    least = torch.full_like(largest, math.inf, dtype=torch.float64)
    for candidate in range(method.candidates, 0, -1):
        limits = largest * (candidate / method.candidates)
        rounded = fake_quantize(rows, symmetric_grid(rows, bits, 0, limits))
        error = ((rounded.double() - rows).square() * counts).sum(1)
        best = torch.where(error < least, limits, best)
        least = torch.minimum(error, least)
    return best


def _mse_ranges(
    rows: Tensor, counts: Tensor, ends: tuple[Tensor, Tensor], bits: int, method: Mse
) -> tuple[Tensor, Tensor]:
    """Each row's range, (C,) and (C,), with the least squared error that the search finds.

    Both ends are drawn in by the same share, then the upper one alone, then the lower one.
    """

    def error(low: Tensor, high: Tensor) -> Tensor:
        rounded = fake_quantize(rows, affine_grid(rows, bits, 0, (low, high)))
        return ((rounded.double() - rows).square() * counts).sum(1)

    low, high = ends
    least = error(low, high)
    for draws_low, draws_high in ((True, True), (False, True), (True, False)):
        full_low, full_high = low, high
        for candidate in range(method.candidates - 1, 0, -1):
            share = candidate / method.candidates
            new_low = full_low * share if draws_low else full_low
            new_high = full_high * share if draws_high else full_high
            new = error(new_low, new_high)
            better = new < least
            low, high = torch.where(better, new_low, low), torch.where(better, new_high, high)
            least = torch.minimum(new, least)
    return low, high


def _entropy_thresholds(rows: Tensor, bits: int) -> Tensor:
    """Each row's threshold of |x|, (C,), by entropy."""
    thresholds = []
    for row in rows:
        collector = RangeCollector()
        collector.update(row)
        thresholds.append(collector.threshold(bits))
    return torch.tensor(thresholds, dtype=rows.dtype, device=rows.device)


def _least_divergent(counts: Tensor, levels: int) -> int:
    """How many bins of a histogram of |x| to keep so that ``levels`` levels tell most of it.

    For each number i of bins, P is the first i with everything beyond added to the last, and Q is
    what is left of the first i after merging them into ``levels`` groups and spreading each group's
    count evenly over its bins that are not empty. The i with the least ``KL(P || Q)`` is kept. A Q
    that is empty where P is not diverges infinitely.

    ``T KL = sum_k P_k log(P_k / T) - sum_k P_k log(Q_k / C_i)``, T and C_i being the sums of P and
    Q; both sums come from cumulative ones, for all i at once.

    Args:
        counts: float64, shape (bins,); the last is not 0.
        levels: Groups.

    Returns:
        At least ``levels``, at most ``bins``; the most of equals.
    """
    bins = counts.numel()
    if bins <= levels:
        return bins
    kept = torch.arange(bins, levels - 1, -1)  # (I,), widest first, for argmin takes the first
    edges = torch.arange(levels + 1) * kept[:, None] // levels  # (I, levels + 1)
    group = _cumulative(counts)[edges].diff()  # (I, levels)
    occupied = _cumulative((counts > 0).double())[edges].diff()
    last, within = counts[kept - 1], group.sum(1)
    beyond = counts.sum() - within
    entropy_p = (
        _cumulative(torch.xlogy(counts, counts))[kept]
        - torch.xlogy(last, last)
        + torch.xlogy(last + beyond, last + beyond)
    )
    spread = group / occupied.clamp(min=1)
    cross = torch.xlogy(group, spread).sum(1) + torch.xlogy(beyond, spread[:, -1])
    divergence = entropy_p - cross + torch.xlogy(counts.sum(), within)
    divergence[(last == 0) & (beyond > 0)] = math.inf
    return int(kept[divergence.argmin()])


def _cumulative(values: Tensor) -> Tensor:
    """Sums of the first 0, 1, ... values, one more than there are values."""
    return torch.nn.functional.pad(values.cumsum(0), (1, 0))
