"""Evaluation mode for as long as something is measured.

Knows modules; what is measured is its caller's business.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import fx, nn


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Puts ``module`` into evaluation mode; on leaving, each part is back in its own mode.

    An exported graph module is left as it is: its mode is part of its graph, and calling its
    ``eval`` is an error.
    """
    if isinstance(module, fx.GraphModule):
        yield
        return
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        # A module may do more in train() than to set flags; the flags may differ part by part.
        module.train(modes[0][1])
        for part, training in modes:
            part.training = training


def device_of(module: nn.Module) -> torch.device:
    """The device of the module's first parameter or buffer; the CPU where it has none."""
    for tensor in (*module.parameters(), *module.buffers()):
        return tensor.device
    return torch.device("cpu")
