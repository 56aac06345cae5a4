"""In which way a training step is computed: the same step, up to rounding.

Knows PyTorch's switches; which of them are fastest, and where, is tuning's business.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import fx, nn

NamedPrecision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Execution:
    """How steps are computed."""

    precision: NamedPrecision
    """That of autocast; weights are float32 in either."""
    channels_last: bool
    """How images and kernels lie in memory."""
    compiled: bool
    """Whether the network is compiled by ``torch.compile``."""
    threads: int
    """Of the CPU, for one operator."""

    @property
    def dtype(self) -> torch.dtype:
        """The precision, as PyTorch calls it."""
        return torch.bfloat16 if self.precision == "bfloat16" else torch.float32

    @property
    def memory_format(self) -> torch.memory_format:
        """The layout, as PyTorch calls it."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def as_settings(self) -> dict[str, Any]:
        """What to write under ``training:`` to have just this way everywhere."""
        values = asdict(self)
        return {"compile" if name == "compiled" else name: value for name, value in values.items()}

    def __str__(self) -> str:
        layout = "channels_last" if self.channels_last else "contiguous"
        how = "compiled" if self.compiled else "eager"
        threads = f"{self.threads} thread" + ("s" if self.threads > 1 else "")
        return f"{self.precision}, {layout}, {how}, {threads}"


@contextmanager
def using_threads(count: int) -> Iterator[None]:
    """Within it, an operator on the CPU uses ``count`` threads; after it, as many as before."""
    before = torch.get_num_threads()
    if count != before:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        if count != before:
            torch.set_num_threads(before)


def can_be_compiled(module: nn.Module) -> bool:
    """Whether ``torch.compile`` is to be had here and knows what to do with ``module``.

    A graph that was captured for quantization is not compiled: what observes it would be left out.
    """
    if any(isinstance(part, fx.GraphModule) for part in module.modules()):
        return False
    # Here, because Dynamo takes a second to import and few trainings are long enough for it.
    from torch._dynamo.eval_frame import is_dynamo_supported  # noqa: PLC0415

    return is_dynamo_supported()
