"""Numbers that come from a device while it goes on computing.

Knows tensors of one number each; what they count is its callers' business.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def read_later(value: Tensor) -> Callable[[], float]:
    """A function that gives ``value`` as it is now, and waits for no more than that it is there.

    Args:
        value: One number. It may change afterwards.
    """
    if value.device.type != "cuda":
        number = float(value)
        return lambda: number
    # Page-locked, so that the copy takes its turn among what is computed and the host goes on.
    host = torch.empty(value.shape, dtype=value.dtype, pin_memory=True)
    host.copy_(value, non_blocking=True)
    copied = torch.cuda.Event()
    copied.record(torch.cuda.current_stream(value.device))

    def read() -> float:
        copied.synchronize()
        return float(host)

    return read
