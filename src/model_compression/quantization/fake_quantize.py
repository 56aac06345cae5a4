"""Rounds activations to 8-bit numbers, carried as floats, as they will be in the file.

Knows tensors and their ranges; which tensors of a network are quantized is the quantizer's choice.
It stands in for torchao's own module, whose kernels are several times slower on a CPU: measured
on 1.6 million activations and one core, 1.15 ms against 5.3 forward, 0.67 against 2.05 backward.

On a CPU a range is two numbers of Python's: with tensors, the same rounding took 2.2 times as long
there. Elsewhere it is tensors throughout: to read one would have the host wait at every layer.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from model_compression.quantization.switches import SwitchedFakeQuantize

SMALLEST_SCALE = 2.0**-23
"""Floor of every scale, float32's precision at 1: something dead keeps a step to divide by."""


class ActivationFakeQuantize(SwitchedFakeQuantize):
    """Rounds a tensor to ``scale * (q - zero_point)``, q in 0..255, by its running range.

    The grid is the smallest that covers the range and 0. If it is to be symmetric, one that reaches
    below 0 has its zero point in the middle, 128: the same numbers are signed bytes without one.

    While it trains and is not frozen, it follows the batches' minimum and maximum by a moving
    average whose weight is ``max(averaging, 1 / n)`` at the n-th batch, so the first batches count
    alike. Otherwise the range stands still. Gradients pass inside the range (straight-through).

    Args:
        averaging: Weight of the newest batch in the moving average, in (0, 1].
        quant_min: Smallest integer.
        quant_max: Largest integer.
        dtype: Integer type of the converted graph.
        qscheme: ``torch.per_tensor_affine`` or ``torch.per_tensor_symmetric``.
        is_dynamic: Always False; the ranges are fixed before deployment.
    """

    low: Tensor
    high: Tensor
    observations: Tensor

    def __init__(
        self,
        *,
        averaging: float,
        quant_min: int,
        quant_max: int,
        dtype: torch.dtype,
        qscheme: torch.qscheme,
        is_dynamic: bool = False,
    ) -> None:
        super().__init__()
        self.averaging = averaging
        self.quant_min = quant_min
        self.quant_max = quant_max
        self.dtype = dtype
        self.qscheme = qscheme
        self.is_dynamic = is_dynamic
        self.collect: Callable[[Tensor], None] | None = None
        """Is shown every tensor, if there is one."""
        self.range_of_all: Callable[[Tensor], Tensor] | None = None
        """Makes (-smallest, largest) of a part of a batch that of the whole batch; ``None`` where
        there are no other parts. Set by the training, whose processes share a batch."""
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))
        self.register_buffer("observations", torch.zeros((), dtype=torch.int64))

    def set_range(self, low: float, high: float) -> None:
        """Takes ``low`` to ``high`` for the range, whatever was observed before."""
        self.low.fill_(low)
        self.high.fill_(high)
        self.observations.fill_(1)

    def forward(self, x: Tensor) -> Tensor:
        """Observes ``x`` if the range is to follow it, then rounds it to the grid."""
        if self.collect is not None:
            self.collect(x.detach())
        here = x.device.type == "cpu"
        if self.training and self.observes:
            (self._observe if here else self._observe_there)(x.detach())
        if not self.rounds:
            return x
        if not here:
            return self._round_there(x)
        scale, zero_point = self._scale_and_zero_point()
        return _RoundToGrid.apply(  # type: ignore[no-any-return, no-untyped-call]
            x, scale, self.quant_min - zero_point, self.quant_max - zero_point
        )

    def calculate_qparams(self, **_: Any) -> tuple[Tensor, Tensor]:
        """Scale, float32 of shape (1,), and zero point, int32 of shape (1,), of the range."""
        scale, zero_point = self._scale_and_zero_point()
        return torch.tensor([scale]), torch.tensor([zero_point], dtype=torch.int32)

    def _ends(self, x: Tensor) -> Tensor:
        """(-smallest, largest) of the whole batch."""
        ends = torch.stack((-x.amin(), x.amax()))
        if self.range_of_all is None:
            return ends
        # What is not a number has no place among the largest: infinite, it is found by all.
        return self.range_of_all(ends.nan_to_num(nan=math.inf))

    def _observe(self, x: Tensor) -> None:
        negated, high = self._ends(x).tolist()
        low = -negated
        if not (math.isfinite(low) and math.isfinite(high)):
            raise FloatingPointError(
                f"Activations run from {low} to {high}: the training has diverged. "
                "Lower the learning rate of the quantization stage."
            )
        self.observations += 1
        weight = max(self.averaging, 1.0 / self.observations.item())
        self.low += weight * (low - self.low)
        self.high += weight * (high - self.high)

    def _observe_there(self, x: Tensor) -> None:
        """As ``_observe``, but that what is not finite is left for the loss to show."""
        negated, high = self._ends(x).float()
        self.observations += 1
        weight = (1.0 / self.observations).clamp_min(self.averaging)
        self.low += weight * (-negated - self.low)
        self.high += weight * (high - self.high)

    def _round_there(self, x: Tensor) -> Tensor:
        """As ``_RoundToGrid`` with ``_scale_and_zero_point``."""
        low, high = self.low.double().clamp_max(0), self.high.double().clamp_min(0)
        if self.is_symmetric:
            reach = torch.maximum(-low, high * self._more_below) * (low < 0)
            low, high = torch.minimum(low, -reach), torch.maximum(high, reach / self._more_below)
        levels = self.quant_max - self.quant_min
        scale = ((high - low) / levels).clamp_min(SMALLEST_SCALE).float().double()
        zero_point = self.quant_min - (low / scale).round()
        zero_point = zero_point.clamp(self.quant_min, self.quant_max)
        return _RoundToGridThere.apply(  # type: ignore[no-any-return, no-untyped-call]
            x, scale, self.quant_min - zero_point, self.quant_max - zero_point
        )

    def _scale_and_zero_point(self) -> tuple[float, int]:
        low, high = min(self.low.item(), 0.0), max(self.high.item(), 0.0)
        if self.is_symmetric and low < 0:
            reach = max(-low, high * self._more_below)
            low, high = -reach, max(high, reach / self._more_below)
        levels = self.quant_max - self.quant_min
        # Through float32 and back, because that is the precision in which a file keeps the scale.
        scale = torch.tensor(max((high - low) / levels, SMALLEST_SCALE)).item()
        zero_point = self.quant_min - round(low / scale)
        return scale, min(max(zero_point, self.quant_min), self.quant_max)

    @property
    def is_symmetric(self) -> bool:
        """Whether a range that reaches below 0 has its zero point in the middle."""
        return self.qscheme == torch.per_tensor_symmetric

    @property
    def _more_below(self) -> float:
        """Steps below a zero point in the middle, for each step above it: 128 for 127."""
        levels = self.quant_max - self.quant_min
        return (levels + 1) / (levels - 1)


class _RoundToGrid(torch.autograd.Function):
    """``clamp(round(x / scale), low, high) * scale``; the gradient passes where nothing is clamped.

    Multiplying by the inverse is what the converted graph's ``quantize_per_tensor`` does too.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float, low: int, high: int) -> Tensor:
        ctx.save_for_backward(x)
        ctx.bounds = ((low - 0.5) * scale, (high + 0.5) * scale)
        return x.mul(1.0 / scale).round_().clamp_(low, high).mul_(scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (x,) = ctx.saved_tensors
        # hardtanh's derivative is the very mask, in one pass over memory.
        return torch.ops.aten.hardtanh_backward(gradient, x, *ctx.bounds), None, None, None


class _RoundToGridThere(torch.autograd.Function):
    """The same, of a scale and bounds that are tensors: float64, without dimensions."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, low: Tensor, high: Tensor) -> Tensor:
        ctx.save_for_backward(x, ((low - 0.5) * scale).float(), ((high + 0.5) * scale).float())
        # In float32 also what is of fewer bits, in which a scale would be another one.
        whole = x.float().mul(1.0 / scale).round_()
        return torch.clamp_(whole, low.float(), high.float()).mul_(scale).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        x, low, high = ctx.saved_tensors
        return gradient.masked_fill((x <= low) | (x >= high), 0), None, None, None
