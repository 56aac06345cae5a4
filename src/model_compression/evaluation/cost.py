"""What a network costs: multiply-accumulates and parameters.

Knows a module and its input's shape; time and bytes are measured on the file, elsewhere.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from model_compression.evaluation.modes import device_of, evaluating


def count_macs(module: nn.Module, input_shape: tuple[int, int, int]) -> int:
    """Multiply-accumulates of convolutions and matrix products for one image.

    PyTorch's counter counts two floating-point operations for each of them; normalisation,
    activations and biases are not counted, as is customary.

    Args:
        module: Takes images (N, C, H, W); run once, in evaluation mode.
        input_shape: (C, H, W).
    """
    counter = FlopCounterMode(display=False)
    with evaluating(module), torch.no_grad(), _plain_attention(), counter:
        module(torch.zeros(1, *input_shape, device=device_of(module)))
    return counter.get_total_flops() // 2


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Within it, attention is made of matrix products, since the counter misses its fused forms."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def count_parameters(module: nn.Module) -> tuple[int, int]:
    """All parameters, and those of them that are not zero; a shared one counts once."""
    parameters = list(module.parameters())
    total = sum(parameter.numel() for parameter in parameters)
    nonzero = sum(int(torch.count_nonzero(parameter)) for parameter in parameters)
    return total, nonzero
