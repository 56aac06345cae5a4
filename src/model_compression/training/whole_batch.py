"""Statistics of the whole batch where each process sees a share of it.

Knows batch norms and running ranges; nothing of the networks that they are part of. PyTorch's own
``SyncBatchNorm`` is for CUDA alone, and a module of another class; here a batch norm stays what it
is, with the same names in its state, and computes otherwise for a while.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import SyncBatchNorm, _BatchNorm

from model_compression.training.processes import Team


@contextmanager
def whole_batch_statistics(team: Team, *modules: nn.Module) -> Iterator[None]:
    """Within it, batch norms in training mode normalise by all processes' images together.

    So do modules that follow the range of what they see: those with an attribute
    ``range_of_all``, which is set to a function of (-smallest, largest) meanwhile.

    Args:
        team: The processes.
        modules: The networks, the same in every process.
    """
    parts = [part for module in modules for part in module.modules()] if team.size > 1 else []
    norms = [
        part
        for part in parts
        if isinstance(part, _BatchNorm) and not isinstance(part, SyncBatchNorm)
    ]
    ranged: list[Any] = [part for part in parts if hasattr(part, "range_of_all")]
    for norm in norms:
        # An instance's own forward comes before its class's; the state is not touched.
        norm.forward = partial(_normalise, norm, team)  # type: ignore[method-assign]
    for part in ranged:
        part.range_of_all = team.largest
    try:
        yield
    finally:
        for norm in norms:
            norm.__dict__.pop("forward", None)
        for part in ranged:
            part.range_of_all = None


def _normalise(norm: _BatchNorm, team: Team, images: Tensor) -> Tensor:
    """What ``norm`` gives for this process's share of a batch, by the whole batch's statistics."""
    if not norm.training:
        return type(norm).forward(norm, images)
    norm._check_input_dim(images)
    normalised, mean, variance, count = _WholeBatchNorm.apply(  # type: ignore[no-untyped-call]
        images, norm.weight, norm.bias, norm.eps, team
    )
    if norm.track_running_stats and norm.running_mean is not None:
        assert norm.running_var is not None
        assert norm.num_batches_tracked is not None
        norm.num_batches_tracked.add_(1)
        weight = norm.momentum
        if weight is None:
            weight = 1.0 / float(norm.num_batches_tracked)
        unbiased = variance * (count / (count - 1))
        norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), weight)
        norm.running_var.lerp_(unbiased.to(norm.running_var.dtype), weight)
    return normalised  # type: ignore[no-any-return]


class _WholeBatchNorm(torch.autograd.Function):
    """y = (x - μ) / √(σ² + ε) · γ + β with mean and variance over all processes' x.

    With N numbers a channel in all, and the sums over all processes,

        dx = γ / √(σ² + ε) · (dy - Σdy / N - x̂ · Σ(dy · x̂) / N)

    The gradients of γ and β are this process's parts, as every parameter's are.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, team: Team
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        channels = x.shape[1]
        mean, variance = torch.ops.aten.batch_norm_update_stats(_wide(x), None, None, 0.0)
        here = torch.cat([mean, variance, mean.new_tensor([x.numel() / channels])])
        means, variances, counts = team.gathered(here).double().split([channels, channels, 1], 1)
        count = counts.sum()
        # Chan, Golub & LeVeque (1979): squares of differences only, so nothing cancels.
        shares = counts / count
        whole_mean = (shares * means).sum(0)
        whole_variance = (shares * (variances + (means - whole_mean).square())).sum(0)
        mean, variance = whole_mean.to(mean.dtype), whole_variance.to(mean.dtype)
        y = torch.batch_norm(x, weight, bias, mean, variance, False, 0.0, eps, False)
        ctx.save_for_backward(x, weight, mean, variance, count)
        ctx.eps, ctx.team = eps, team
        ctx.mark_non_differentiable(mean, variance, count)
        return y, mean, variance, count

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, dy: Tensor, *_: Tensor
    ) -> tuple[Tensor, Tensor | None, Tensor | None, None, None]:
        x, weight, mean, variance, count = ctx.saved_tensors
        spread = (variance + ctx.eps).rsqrt()
        channels = x.shape[1]
        factor = torch.ones_like(mean) if weight is None else weight
        wide = _wide(x)
        dx, d_weight, d_bias = torch.ops.aten.native_batch_norm_backward(
            _wide(dy), wide, factor, None, None, mean, spread, True, ctx.eps, [True, True, True]
        )
        # The kernel took the sums for the whole batch's, and their means over its own share.
        own = torch.stack([d_bias, d_weight])
        excess = own / (x.numel() / channels) - ctx.team.total(own.clone()) / count.to(own.dtype)
        slope = factor * spread.square() * excess[1]
        offset = factor * spread * excess[0] - slope * mean
        shape = (1, -1, *(1,) * (x.ndim - 2))
        dx = dx.addcmul_(wide, slope.view(shape)).add_(offset.view(shape)).to(x.dtype)
        if weight is None:
            return dx, None, None, None, None
        return dx, d_weight, d_bias, None, None


def _wide(values: Tensor) -> Tensor:
    """At least float32: sums over a batch of half-precision numbers need it."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
