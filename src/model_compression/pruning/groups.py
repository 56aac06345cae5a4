"""Which channels of a network can only go together, and which compete with each other.

Knows names of tensors and indices along their dimensions; how they were found is the tracer's
business (``dependencies``), how much they matter the importances'.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Members:
    """Where a group's units lie along one dimension of one tensor.

    The m entries say: index ``index[i]`` along ``dim`` belongs to unit ``unit[i]``. Indices of the
    dimension that belong to no unit of the group (another branch of a concatenation, say) have no
    entry; a unit may have several (a channel that was flattened with its positions).
    """

    tensor: str
    """Name of a parameter or buffer, as in ``state_dict()``."""
    dim: int
    index: Tensor
    """int64, shape (m,)."""
    unit: Tensor
    """int64, shape (m,)."""


@dataclass(frozen=True)
class ChannelGroup:
    """Units that are made by the same layers and compete; each can be removed alone.

    A unit is the smallest set of channels that can go without breaking the network: one channel, a
    group of a grouped convolution, or a head of attention, with all that depends on it.
    """

    name: str
    """Path of the first layer that makes its channels."""
    units: int
    width: int
    """Channels a unit has in the layer ``name``."""
    makes: tuple[Members, ...]
    """Along dimensions of what makes the channels: rows of weights."""
    takes: tuple[Members, ...]
    """Along dimensions of weights that read the channels: columns of weights."""
    follows: tuple[Members, ...]
    """Of what there is one value a channel: biases, norms' weights and statistics, scales, position
    embeddings."""

    @property
    def members(self) -> tuple[Members, ...]:
        """All of them."""
        return (*self.makes, *self.takes, *self.follows)

    @property
    def channels(self) -> int:
        """Channels in the layer ``name``."""
        return self.units * self.width


Kept = dict[str, Tensor]
"""By a group's name, a bool tensor of shape (units,): True stays. Groups that are not named stay
whole."""


def whole(groups: Sequence[ChannelGroup], kept: Kept) -> bool:
    """Whether nothing is removed."""
    return all(bool(kept[group.name].all()) for group in groups if group.name in kept)
