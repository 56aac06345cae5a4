"""Rounds weights to what can be stored in few bits: integers times a step, a channel or a tensor.

Know weights and their grids; which layer gets which is the settings' choice. All end as 8-bit
integers times a step, so that every one of them runs in the same integer kernels.

Each lets gradients through as if it did not round (straight-through; Bengio et al., 2013), except
to a weight that is exactly 0: it was pruned, and stays so.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from model_compression.quantization.fake_quantize import SMALLEST_SCALE
from model_compression.quantization.formula import Sharing
from model_compression.quantization.switches import SwitchedFakeQuantize

_LLOYD_STEPS = 30


class WeightQuantizer(SwitchedFakeQuantize):
    """What all of them have in common: ``w -> scale * q``, q whole numbers, |q| <= 127.

    Args:
        bits: Bits of a weight, 2 to 8.
        sharing: Who shares a step.
        quant_min: Smallest integer that the converted graph may hold.
        quant_max: Largest integer.
        dtype: Integer type of the converted graph.
        qscheme: ``torch.per_channel_symmetric`` or ``torch.per_tensor_symmetric``.
        ch_axis: The output channels' axis, 0.
        is_dynamic: Always False.
    """

    scale: Tensor
    """Float32, shape (out,), or (1,) where the tensor shares one."""

    def __init__(
        self,
        *,
        bits: int,
        sharing: Sharing,
        quant_min: int,
        quant_max: int,
        dtype: torch.dtype,
        qscheme: torch.qscheme,
        ch_axis: int = 0,
        is_dynamic: bool = False,
    ) -> None:
        super().__init__()
        self.bits = bits
        self.sharing = sharing
        self.quant_min = quant_min
        self.quant_max = quant_max
        self.dtype = dtype
        self.qscheme = qscheme
        self.ch_axis = ch_axis
        self.is_dynamic = is_dynamic

    @property
    def largest(self) -> int:
        """Of the uniform grid, ``2^(bits-1) - 1``."""
        return int(2 ** (self.bits - 1) - 1)

    def begin(self, weight: Tensor) -> None:
        """Takes the shape of ``weight``, (out, ...), and begins with a grid that suits it."""

    def scale_steps(self, factors: Tensor) -> None:
        """Multiplies each channel's step by its factor, (out,), which is positive."""
        self.scale = (self.scale * factors).clamp_min_(SMALLEST_SCALE)

    def forward(self, weight: Tensor) -> Tensor:
        """The weight on its grid, shape (out, ...)."""
        if not self.rounds:
            return weight
        return self.rounded(weight)

    def rounded(self, weight: Tensor) -> Tensor:
        """The weight on its grid.

        Raises:
            TypeError: Always; each kind of grid rounds in its own way.
        """
        raise TypeError(f"{type(self).__name__} does not say how it rounds.")

    def calculate_qparams(self, **_: Any) -> tuple[Tensor, Tensor]:
        """The steps, float32 of shape (out,) or (1,), and as many zeros, int64."""
        scale = self.scale.detach()
        return scale, torch.zeros_like(scale, dtype=torch.int64)

    def _per_weight(self, scale: Tensor, weight: Tensor) -> Tensor:
        return scale.view(-1, *(1,) * (weight.ndim - 1))

    def _largest_weights(self, weight: Tensor) -> Tensor:
        sizes = weight.detach().abs()
        return sizes.flatten(1).amax(1) if self.sharing == "channel" else sizes.amax().view(1)


class LargestWeightQuantizer(WeightQuantizer):
    """The step is the largest weight over the largest integer, taken anew at each call.

    Nothing is clipped, and there is no state that could fall behind the weights.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.register_buffer("scale", torch.ones(1), persistent=False)

    def rounded(self, weight: Tensor) -> Tensor:
        """``scale * round(w / scale)``."""
        with torch.no_grad():
            self.scale = (self._largest_weights(weight) / self.largest).clamp_min_(SMALLEST_SCALE)
            scale = self._per_weight(self.scale, weight)
            rounded = weight.mul(1.0 / scale).round_().clamp_(-self.largest, self.largest)
            rounded.mul_(scale)
        return _PassGradient.apply(weight, rounded)  # type: ignore[no-any-return, no-untyped-call]


class FixedStepQuantizer(WeightQuantizer):
    """The step stands still: it is chosen once, after training, and kept with the weights."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.register_buffer("scale", torch.ones(1))

    def begin(self, weight: Tensor) -> None:
        """Begins with the steps of the largest weights."""
        self.scale = (self._largest_weights(weight) / self.largest).clamp_min_(SMALLEST_SCALE)

    def set_steps(self, scale: Tensor) -> None:
        """Takes other steps, of the shape that ``begin`` has made."""
        self.scale = scale.detach().to(self.scale).reshape(self.scale.shape)
        self.scale.clamp_min_(SMALLEST_SCALE)

    def rounded(self, weight: Tensor) -> Tensor:
        """``scale * clamp(round(w / scale))``."""
        with torch.no_grad():
            scale = self._per_weight(self.scale, weight)
            rounded = (weight / scale).round_().clamp_(-self.largest, self.largest).mul_(scale)
        return _PassGradient.apply(weight, rounded)  # type: ignore[no-any-return, no-untyped-call]


class LearnedStepQuantizer(WeightQuantizer):
    """The step is learned with the weights: LSQ (Esser et al., ICLR 2020), in its logarithm.

    ``d w_q / d s = round(w / s) - w / s`` inside the grid, and the end of the grid outside, summed
    over the weights and scaled by ``1 / sqrt(n * largest)``, n the weights of one step. Weights
    outside of the grid get no gradient. It begins with ``s = 2 * mean|w| / sqrt(largest)``, the
    mean over the weights that are not 0.

    What is trained is ``log s`` (Jain et al., Trained Quantization Thresholds, MLSys 2020), so an
    update changes a step by a share of itself. With s itself, a ResNet-20 whose batch norms are
    folded diverged within an epoch, at 4 bits and a learning rate of 0.005.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.log_step = nn.Parameter(torch.zeros(1))

    @property
    def scale(self) -> Tensor:  # type: ignore[override]
        """The steps."""
        return self.log_step.exp()

    def begin(self, weight: Tensor) -> None:
        """Begins with steps of the mean weight."""
        sizes = weight.detach().abs()
        sizes = sizes.flatten(1) if self.sharing == "channel" else sizes.view(1, -1)
        kept = (sizes > 0).sum(1).clamp_min(1)
        step = 2 * sizes.sum(1) / kept / math.sqrt(self.largest)
        self.log_step = nn.Parameter(step.clamp_min(SMALLEST_SCALE).log())

    def scale_steps(self, factors: Tensor) -> None:
        """Multiplies each channel's step by its factor, (out,), which is positive."""
        self.log_step = nn.Parameter((self.scale * factors).clamp_min(SMALLEST_SCALE).log())

    def rounded(self, weight: Tensor) -> Tensor:
        """``scale * clamp(round(w / scale))``."""
        scale = self._per_weight(self.scale, weight)
        return _LearnedStep.apply(weight, scale, self.largest)  # type: ignore[no-any-return, no-untyped-call]


class CodebookQuantizer(WeightQuantizer):
    """All weights of a layer share ``2^bits`` values, one of them 0: Han et al., ICLR 2016.

    A value is a whole number of 127ths (63rds in a reduced range) of the channel's largest weight,
    as it was in the beginning, so that a weight is an integer times a step here too. The values
    begin as the centres of k-means over the layer's weights and are learned: the gradient of one is
    the sum over its weights, here divided by the square root of their number. Which weight has
    which value is found anew at each call: the nearest.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.register_buffer("scale", torch.ones(1))
        self.values = nn.Parameter(torch.zeros(2**self.bits - 1))
        """All but the 0, in shares of the largest weight."""

    def begin(self, weight: Tensor) -> None:
        """Begins with the centres of the layer's weights that are not 0."""
        self.scale = (self._largest_weights(weight) / self.quant_max).clamp_min_(SMALLEST_SCALE)
        with torch.no_grad():
            shares = weight / self._per_weight(self.scale * self.quant_max, weight)
            self.values.copy_(_centres(shares[shares != 0].flatten(), len(self.values)))

    def codebook(self) -> Tensor:
        """The integers that weights may be, ascending, 0 among them; float32, (2^bits,)."""
        whole = (self.values.detach() * self.quant_max).round()
        whole = whole.clamp_(-self.quant_max, self.quant_max)
        return torch.cat([whole, whole.new_zeros(1)]).sort().values

    def rounded(self, weight: Tensor) -> Tensor:
        """``scale`` times the nearest integer of the codebook."""
        scale = self._per_weight(self.scale, weight)
        return _SharedValues.apply(weight, scale, self.values, self.quant_max)  # type: ignore[no-any-return, no-untyped-call]


def _centres(shares: Tensor, count: int) -> Tensor:
    """Centres of one-dimensional k-means, beginning evenly between the ends (Lloyd, 1982)."""
    if len(shares) == 0:
        return torch.linspace(-1.0, 1.0, count)
    centres = torch.linspace(float(shares.min()), float(shares.max()), count).to(shares)
    for _ in range(_LLOYD_STEPS):
        nearest = torch.bucketize(shares, (centres[1:] + centres[:-1]) / 2)
        sizes = torch.bincount(nearest, minlength=count)
        sums = torch.zeros_like(centres).index_add_(0, nearest, shares)
        moved = torch.where(sizes > 0, sums / sizes.clamp_min(1), centres).sort().values
        if torch.equal(moved, centres):
            break
        centres = moved
    return centres


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


class _LearnedStep(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, scale: Tensor, largest: int) -> Tensor:
        steps = weight / scale
        integers = steps.round().clamp_(-largest, largest)
        ctx.save_for_backward(steps, integers)
        ctx.largest = largest
        ctx.shape = scale.shape
        return integers * scale

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        steps, integers = ctx.saved_tensors
        inside = steps.abs() <= ctx.largest
        slope = torch.where(inside, integers - steps, integers) * gradient
        damping = 1.0 / math.sqrt(steps.numel() / math.prod(ctx.shape) * ctx.largest)
        axes = [axis for axis, size in enumerate(ctx.shape) if size == 1]
        of_scale = slope.sum(axes, keepdim=True).view(ctx.shape) * damping
        return gradient * (inside & (steps != 0)), of_scale, None


class _SharedValues(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, scale: Tensor, values: Tensor, largest: int) -> Tensor:
        whole = (values * largest).round().clamp(-largest, largest)
        book, order = torch.cat([whole, whole.new_zeros(1)]).sort(stable=True)
        places = torch.bucketize((weight / scale).contiguous(), (book[1:] + book[:-1]) / 2)
        ctx.save_for_backward(order[places], scale, weight == 0)
        ctx.count = len(values)
        ctx.largest = largest
        return book[places] * scale

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, Tensor, None]:
        owners, scale, pruned = ctx.saved_tensors
        owners = owners.flatten()
        pulls = (gradient * scale * ctx.largest).flatten()
        sums = pulls.new_zeros(ctx.count + 1).index_add_(0, owners, pulls)
        # torch.bincount would have the host ask a GPU for the largest.
        members = torch.zeros_like(sums).index_add_(0, owners, torch.ones_like(pulls))[:-1]
        return (
            gradient.masked_fill(pruned, 0.0),
            None,
            sums[:-1] / members.clamp_min(1).sqrt(),
            None,
        )
