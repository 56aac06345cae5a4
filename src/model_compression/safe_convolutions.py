"""Keeps PyTorch from a CPU kernel that writes beyond its memory.

Knows this one kernel and nothing of networks.
"""

import os
import platform
from typing import Any

import torch
from torch import Tensor
from torch.library import Library

Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]

_KEPT: list[Library] = []
# torch forgets an implementation when its library object is collected, so this keeps it alive.


def guard_convolutions() -> None:
    """From now on, no gradient in this process is taken by that kernel; called again, no change.

    PyTorch 2.13's oneDNN has one, for processors with AVX2 and without AVX-512, that takes the
    gradient of the weights of a convolution of 1 x 1, with a stride above 1, over 2 to 7 channels
    that are laid out channels-last, as a narrow ResNet's shortcuts are. It writes beyond the memory
    that it is given, and the process dies some time later, or doesn't. The same gradient of the
    same tensors, laid out one channel after the other, is taken by another kernel.
    """
    if _KEPT or not _is_there():
        return
    library = Library("aten", "IMPL")
    library.impl("convolution_backward", _convolution_backward, "CPU")
    _KEPT.append(library)


def _is_there() -> bool:
    """Whether oneDNN takes AVX2's kernels here, by the processor or because it was told to."""
    if platform.machine() not in ("x86_64", "AMD64") or not torch.backends.mkldnn.is_available():
        return False
    told = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper()
    return told.startswith("AVX2") or not torch.cpu._is_avx512_supported()


def _convolution_backward(
    gradient: Tensor,
    images: Tensor,
    weight: Tensor,
    bias_sizes: list[int] | None,
    stride: list[int],
    *others: Any,
) -> Gradients:
    is_point = weight.ndim == 4 and weight.shape[2:] == (1, 1)
    if not (is_point and 1 < weight.shape[1] < 8 and max(stride) > 1):
        return _original(gradient, images, weight, bias_sizes, stride, *others)
    # A 1 x 1 kernel counts as contiguous whatever its strides are, so contiguous() won't do.
    turned = (_channel_after_channel(tensor) for tensor in (gradient, images, weight))
    of_images, of_weight, of_bias = _original(*turned, bias_sizes, stride, *others)
    # Compiled code relies on gradients that are laid out as what they are the gradients of.
    return _laid_out_as(images, of_images), _laid_out_as(weight, of_weight), of_bias


def _original(*arguments: Any) -> Gradients:
    gradients: Gradients = torch.ops.aten.convolution_backward.default._op_dk(
        torch._C.DispatchKey.CompositeExplicitAutograd, *arguments
    )
    return gradients


def _laid_out_as(model: Tensor, gradient: Tensor | None) -> Tensor | None:
    return None if gradient is None else torch.empty_like(model).copy_(gradient)


def _channel_after_channel(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, device=tensor.device).copy_(tensor)
