"""Where a training runs and in which precision.

Knows this machine, not the network.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Literal

import torch
from torch import nn

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "float32", "bfloat16"]


def resolve_device(name: Device) -> torch.device:
    """The device of that name; ``auto`` is CUDA where there is one.

    Raises:
        ValueError: If CUDA is asked for and there is none.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise ValueError(
            "device is 'cuda', but PyTorch sees no CUDA device: set device to 'auto' or 'cpu', "
            "or install a CUDA build of PyTorch"
        )
    return torch.device("cuda" if name != "cpu" and available else "cpu")


def resolve_precision(name: Precision, device: torch.device) -> torch.dtype:
    """The data type of that name; ``auto`` is bfloat16 where the device multiplies it natively.

    On a processor that only emulates bfloat16, autocast is several times slower than float32.
    """
    if name == "auto":
        native = (
            torch.cuda.is_bf16_supported(including_emulation=False)
            if device.type == "cuda"
            else torch.backends.mkldnn.is_available()
            and torch.ops.mkldnn._is_mkldnn_bf16_supported()
            and torch.cpu._is_avx512_bf16_supported()
        )
        return torch.bfloat16 if native else torch.float32
    return torch.bfloat16 if name == "bfloat16" else torch.float32


def autocast(dtype: torch.dtype, device: torch.device) -> AbstractContextManager[object]:
    """Mixed precision in ``dtype`` (weights stay float32); float32 also inside another autocast."""
    return torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16)


@contextmanager
def exact_float32() -> Iterator[None]:
    """Within it, float32 is float32: convolutions on a GPU don't round to TF32's 10 bits.

    cuDNN would, unasked. Where that precision is enough, bfloat16 is chosen, which is faster.
    """
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def place(module: nn.Module, device: torch.device, channels_last: bool) -> nn.Module:
    """Moves ``module`` to ``device``, its kernels laid out as the images are; gives it back.

    A convolution is fastest when images and kernels have the same layout.
    """
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return module.to(device).to(memory_format=layout)  # type: ignore[call-overload, no-any-return]
