"""Marks channels and remembers which of them turned out to be the same.

Knows integers. A label stands for one channel of one tensor; two labels of one class can only stay
or go together. What puts two of them into one class is the operators' business.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

FREE = 0
"""Of an element that depends on no channel, or on all of them alike."""
FROZEN = 1
"""Of a channel that has to stay."""


class Labels:
    """All labels of one network and the equivalence relation among them."""

    def __init__(self) -> None:
        self._count = 2
        self._links: list[NDArray[np.int64]] = []
        self._classes: NDArray[np.int64] | None = None

    def new(self, count: int) -> Tensor:
        """So many labels that were never given before, int64, shape (count,)."""
        first, self._count = self._count, self._count + count
        self._classes = None
        return torch.arange(first, self._count)

    def join(self, left: Tensor, right: Tensor) -> None:
        """Puts labels at the same position of both, which are broadcast, into one class.

        Positions where either is ``FREE`` are passed over.
        """
        pairs = _distinct_pairs(left, right)
        pairs = pairs[:, (pairs != FREE).all(axis=0) & (pairs[0] != pairs[1])]
        if pairs.size:
            self._links.append(pairs)
            self._classes = None

    def freeze(self, labels: Tensor) -> None:
        """Makes all of these stay."""
        self.join(labels, torch.tensor(FROZEN))

    def join_along(self, labels: Tensor, dim: int) -> Tensor:
        """Joins all labels along a dimension; returns them with that dimension of size 1."""
        first = labels.narrow(dim, 0, 1)
        self.join(labels, first)
        return first

    def classes(self, labels: Tensor) -> Tensor:
        """The class of each label, in the labels' shape.

        ``FREE`` and ``FROZEN`` and what was joined with it are named so.
        """
        if self._classes is None:
            self._classes = self._components()
        return torch.from_numpy(self._classes)[labels]

    def vary(self, labels: Tensor, dim: int) -> bool:
        """Whether labels of different classes lie along a dimension."""
        small = collapsed(labels)
        if small.shape[dim] < 2:
            return False
        if bool((small == small.narrow(dim, 0, 1)).all()):
            return False
        classes = self.classes(small)
        return not bool((classes == classes.narrow(dim, 0, 1)).all())

    def varying(self, labels: Tensor) -> list[int]:
        """The dimensions along which labels of different classes lie."""
        return [dim for dim in range(labels.ndim) if self.vary(labels, dim)]

    def _components(self) -> NDArray[np.int64]:
        links = np.concatenate([np.empty((2, 0), np.int64), *self._links], axis=1)
        components = connected(links, self._count)
        # The classes of FREE and FROZEN take these numbers; the others move out of their way.
        named = components + 2
        named[components == components[FREE]] = FREE
        named[components == components[FROZEN]] = FROZEN
        return named


def collapsed(labels: Tensor) -> Tensor:
    """The same labels with size 1 along every dimension that is a mere repetition in memory."""
    for dim, (size, stride) in enumerate(zip(labels.shape, labels.stride(), strict=True)):
        if size > 1 and stride == 0:
            labels = labels.narrow(dim, 0, 1)
    return labels


def _distinct_pairs(left: Tensor, right: Tensor) -> NDArray[np.int64]:
    """The pairs at the same positions, each once; int64, shape (2, m)."""
    left, right = torch.broadcast_tensors(left, right)
    for dim, (size, *strides) in enumerate(
        zip(left.shape, left.stride(), right.stride(), strict=True)
    ):
        if size > 1 and strides == [0, 0]:
            left, right = left.narrow(dim, 0, 1), right.narrow(dim, 0, 1)
    both = np.stack([left.reshape(-1).numpy(), right.reshape(-1).numpy()])
    if both.shape[1] < 2:
        return both
    # One number a pair is many times faster to sort than two.
    keys = np.unique(both[0] << 32 | both[1])
    return np.stack([keys >> 32, keys & 0xFFFFFFFF])


def connected(links: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """For each of ``count`` things a number that it shares with all that links lead to.

    Args:
        links: Pairs of things, shape (2, pairs).
        count: How many things there are.
    """
    # SciPy's graphs bring its linear algebra, a tenth of a second before a run's first node.
    from scipy.sparse import coo_array  # noqa: PLC0415
    from scipy.sparse.csgraph import connected_components  # noqa: PLC0415

    graph = coo_array((np.ones(links.shape[1], dtype=bool), tuple(links)), shape=(count, count))
    components: NDArray[np.int64] = connected_components(graph, directed=False)[1].astype(np.int64)
    return components
