"""What all attention with a free number of heads has in common.

Knows shapes.
"""

from torch import Tensor


class WholeHeads:
    """Marks a module within which a channel can only go with all of its head."""


def by_head(x: Tensor, head_size: int) -> Tensor:
    """(…, positions, heads · head size) to (…, heads, positions, head size)."""
    heads: Tensor = x.unflatten(-1, (-1, head_size))
    return heads.transpose(-3, -2)
