"""The lean fake quantizers that train a network for int8: 8-bit numbers, carried as floats.

Know tensors and their ranges; which tensors of a network are quantized is the quantizer's choice.
They stand in for torchao's own modules, whose kernels are several times slower on a CPU: measured
on 1.6 million activations and one core, 1.15 ms against 5.3 forward, 0.67 against 2.05 backward.
"""

import math
from typing import Any

import torch
from torch import Tensor

from model_compression.quantization._torchao import FakeQuantizeBase

SMALLEST_SCALE = 2.0**-23
"""Floor of every scale, float32's precision at 1: something dead keeps a step to divide by."""


class ActivationFakeQuantize(FakeQuantizeBase):  # type: ignore[misc]
    """Rounds a tensor to ``scale * (q - zero_point)``, q in 0..255, by its running range.

    While it trains and is not frozen, it follows the batches' minimum and maximum by a moving
    average whose weight is ``max(averaging, 1 / n)`` at the n-th batch, so the first batches count
    alike. Otherwise the range stands still. Gradients pass inside the range (straight-through).

    Args:
        averaging: Weight of the newest batch in the moving average, in (0, 1].
        quant_min: Smallest integer.
        quant_max: Largest integer.
        dtype: Integer type of the converted graph.
        qscheme: ``torch.per_tensor_affine``.
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
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))
        self.register_buffer("observations", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        """Observes ``x`` if the range is to follow it, then rounds it to the grid."""
        if self.training and self.observer_enabled.item():
            self._observe(x.detach())
        if not self.fake_quant_enabled.item():
            return x
        scale, zero_point = self._scale_and_zero_point()
        return _RoundToGrid.apply(  # type: ignore[no-any-return, no-untyped-call]
            x, scale, self.quant_min - zero_point, self.quant_max - zero_point
        )

    def calculate_qparams(self, **_: Any) -> tuple[Tensor, Tensor]:
        """Scale, float32 of shape (1,), and zero point, int32 of shape (1,), of the range."""
        scale, zero_point = self._scale_and_zero_point()
        return torch.tensor([scale]), torch.tensor([zero_point], dtype=torch.int32)

    def _observe(self, x: Tensor) -> None:
        low, high = torch.stack((x.amin(), x.amax())).tolist()
        if not (math.isfinite(low) and math.isfinite(high)):
            raise FloatingPointError(
                f"Activations run from {low} to {high}: the training has diverged. "
                "Lower the learning rate of the quantization stage."
            )
        self.observations += 1
        weight = max(self.averaging, 1.0 / self.observations.item())
        self.low += weight * (low - self.low)
        self.high += weight * (high - self.high)

    def _scale_and_zero_point(self) -> tuple[float, int]:
        low, high = min(self.low.item(), 0.0), max(self.high.item(), 0.0)
        levels = self.quant_max - self.quant_min
        # Through float32 and back, because that is the precision in which a file keeps the scale.
        scale = torch.tensor(max((high - low) / levels, SMALLEST_SCALE)).item()
        zero_point = self.quant_min - round(low / scale)
        return scale, min(max(zero_point, self.quant_min), self.quant_max)


class PerChannelWeightFakeQuantize(FakeQuantizeBase):  # type: ignore[misc]
    """Rounds a weight, output channel by output channel, to ``scale * q``, |q| <= ``quant_max``.

    The scale is the channel's largest absolute weight over ``quant_max``, taken anew at each call:
    nothing is clipped, so gradients pass unchanged (straight-through), and there is no state that
    could fall behind the weights. Only a weight that is exactly 0 gets no gradient: it was pruned,
    and stays so.

    Args:
        quant_min: Smallest integer, ``-quant_max``.
        quant_max: Largest integer.
        dtype: Integer type of the converted graph.
        qscheme: ``torch.per_channel_symmetric``.
        ch_axis: The output channels' axis, 0.
        is_dynamic: Always False.
    """

    scale: Tensor

    def __init__(
        self,
        *,
        quant_min: int,
        quant_max: int,
        dtype: torch.dtype,
        qscheme: torch.qscheme,
        ch_axis: int = 0,
        is_dynamic: bool = False,
    ) -> None:
        super().__init__()
        self.quant_min = quant_min
        self.quant_max = quant_max
        self.dtype = dtype
        self.qscheme = qscheme
        self.ch_axis = ch_axis
        self.is_dynamic = is_dynamic
        self.register_buffer("scale", torch.ones(1), persistent=False)

    def forward(self, weight: Tensor) -> Tensor:
        """Rounds ``weight``, shape (out, ...), to the grid of its present scales."""
        if not self.fake_quant_enabled.item():
            return weight
        with torch.no_grad():
            largest = weight.abs().amax(dim=tuple(range(1, weight.ndim)))
            self.scale = (largest / self.quant_max).clamp_min_(SMALLEST_SCALE)
            scale = self.scale.view(-1, *(1,) * (weight.ndim - 1))
            rounded = weight.mul(1.0 / scale).round_().clamp_(self.quant_min, self.quant_max)
            rounded.mul_(scale)
        return _PassGradient.apply(weight, rounded)  # type: ignore[no-any-return, no-untyped-call]

    def calculate_qparams(self, **_: Any) -> tuple[Tensor, Tensor]:
        """Scales, float32 of shape (out,), of the last call, and as many zeros, int64."""
        return self.scale, torch.zeros_like(self.scale, dtype=torch.int64)


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


class _PassGradient(torch.autograd.Function):
    """Gives ``rounded`` forward and hands the gradient to ``weight`` where that is not 0."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, rounded: Tensor) -> Tensor:
        ctx.save_for_backward(weight == 0)
        return rounded

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (pruned,) = ctx.saved_tensors
        return gradient.masked_fill(pruned, 0.0), None
