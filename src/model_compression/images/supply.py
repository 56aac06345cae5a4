"""How the bytes of a batch get to the device that computes: there already, or just in time.

Knows arrays of rows and where there is memory for them; not what is made of them. On the CPU, rows
are read when they are asked for. On a device with memory of its own a set is kept there as a whole
where it fits, and streamed otherwise: while one batch is computed with, the next one is on its way.
"""

import logging
import math
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model_compression.images.image_set import ImageSet

RESIDENT_SHARE = 0.5
"""The largest share of a device's free memory that one array of rows may take for good. The rest is
for the network, its activations and what else is asked to be there."""

_CHUNK_BYTES = 64 * 2**20
_log = logging.getLogger(__name__)


class Rows(Protocol):
    """Rows of numbers, read by slice or by integer array: images, or a teacher's answers."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, …)."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the numbers."""

    def __len__(self) -> int:
        """N."""

    def __getitem__(self, key: Any, /) -> NDArray[Any]:
        """The rows of a slice or an int64 index array."""


class Delivery(NamedTuple):
    """What a batch is made of, on the device."""

    images: Tensor
    """uint8, shape (n, C, H, W). To be read before the next delivery is asked for: its memory may
    be used again then."""
    labels: Tensor
    """int64, shape (n,)."""
    indices: Tensor
    """Positions in the set, int64, shape (n,)."""
    positions: Tensor
    """The indices on the CPU."""


class Supply(Protocol):
    """A way in which an image set's rows get to a device."""

    def deliveries(self, order: Tensor, parts: Sequence[slice]) -> Iterator[Delivery]:
        """The images at ``order[part]`` for each part.

        Args:
            order: Positions in the set, int64, on the CPU.
            parts: Which of them belong together, each with a start and a stop.
        """


def fits(needed: int, free: int, share: float) -> bool:
    """Whether ``needed`` bytes are no more than ``share`` of ``free`` bytes."""
    return needed <= share * free


def free_memory(device: torch.device) -> int | None:
    """Bytes that could be had on ``device``; ``None`` if it has no memory that is worth filling.

    What PyTorch keeps there for tensors to come is free, too.
    """
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """``tensor`` of the CPU on ``device``, without waiting for what is computed there."""
    if device.type == "cuda":
        # From other memory, the copy would not run beside anything, and the host might wait for it.
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def resident(rows: Rows, device: torch.device, share: float = RESIDENT_SHARE) -> Tensor | None:
    """All rows on ``device``, if it has memory of its own and they fit into a share of it.

    Args:
        rows: Of numbers that PyTorch knows.
        device: Where they shall be.
        share: The largest share of its free memory that they may take; 0: none.
    """
    free = free_memory(device)
    row_bytes = int(np.prod(rows.shape[1:], dtype=np.int64)) * rows.dtype.itemsize
    if free is None or share == 0 or not fits(len(rows) * row_bytes, free, share):
        return None
    kind = torch.from_numpy(np.empty(0, rows.dtype)).dtype
    there = torch.empty(rows.shape, dtype=kind, device=device)
    step = max(1, _CHUNK_BYTES // max(1, row_bytes))
    for start in range(0, len(rows), step):
        # Copied once, since what is mapped from a file can't be written, which PyTorch dislikes.
        part = torch.from_numpy(np.array(rows[start : start + step]))
        there[start : start + len(part)].copy_(part)
    return there


def choose_supply(
    image_set: ImageSet, device: torch.device, share: float = RESIDENT_SHARE
) -> Supply:
    """The way in which ``image_set`` gets to ``device``.

    Args:
        image_set: The images.
        device: Where they are needed.
        share: The largest share of its free memory that they may take; 0: they are streamed.
    """
    if free_memory(device) is None:
        return AsAsked(image_set, device)
    # A teacher and its student look at the same set: once is enough.
    known = _residents.setdefault(image_set, {})
    found = known.get(str(device)) if share > 0 else None
    if found is None:
        images = resident(image_set.images, device, share)
        # A row's number and label are a few bytes, so these are there in any case.
        labels = to_device(torch.from_numpy(np.array(image_set.labels)), device)
        megabytes = math.prod(image_set.images.shape) / 2**20
        if images is None:
            _log.info(
                "%.0f MiB of images are streamed to %s: resident_share lets a set take %g of its "
                "free memory",
                megabytes,
                device,
                share,
            )
            return Streamed(image_set, labels)
        _log.info("%.0f MiB of images stay on %s", megabytes, device)
        found = known[str(device)] = Resident(images, labels)
    return found


class AsAsked:
    """Rows are read when they are asked for, as is best where they are in the device's memory.

    Args:
        image_set: The images.
        device: Where they are needed.
    """

    def __init__(self, image_set: ImageSet, device: torch.device) -> None:
        self._image_set = image_set
        self._device = device

    def deliveries(self, order: Tensor, parts: Sequence[slice]) -> Iterator[Delivery]:
        """See ``Supply``."""
        for part in parts:
            positions = order[part]
            rows = positions.numpy()
            images = torch.from_numpy(np.ascontiguousarray(self._image_set.images[rows]))
            labels = torch.from_numpy(self._image_set.labels[rows])
            images, labels, indices = (
                tensor.to(self._device) for tensor in (images, labels, positions)
            )
            yield Delivery(images, labels, indices, positions)


class Resident:
    """All rows are on the device.

    Args:
        images: uint8, shape (N, C, H, W).
        labels: int64, shape (N,), on the same device.
    """

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self._images = images
        self._labels = labels

    def deliveries(self, order: Tensor, parts: Sequence[slice]) -> Iterator[Delivery]:
        """See ``Supply``; the host has nothing to do but to say which rows."""
        there = to_device(order, self._labels.device)
        for part in parts:
            indices = there[part]
            yield Delivery(
                self._images.index_select(0, indices),
                self._labels.index_select(0, indices),
                indices,
                order[part],
            )


_residents: "weakref.WeakKeyDictionary[ImageSet, dict[str, Resident]]" = weakref.WeakKeyDictionary()
"""For as long as their set is known to anybody."""


class Buffer(Protocol):
    """Room for one batch on the host and on the device; what happens to it keeps its order."""

    def send(self, rows: NDArray[np.uint8]) -> None:
        """Begins to copy ``rows`` to the device, once what was sent before has been used."""

    def rows(self) -> Tensor:
        """What was sent, on the device; what is computed from now on is computed after the copy."""

    def used(self) -> None:
        """Says that nothing else will be computed with what was sent."""


class PinnedBuffer:
    """A page-locked place on the host, one on a CUDA device, and the stream that copies between.

    Args:
        shape: Of the largest batch, (n, C, H, W).
        device: The CUDA device.
        copying: A stream of it that computes nothing.
    """

    def __init__(
        self, shape: tuple[int, ...], device: torch.device, copying: torch.cuda.Stream
    ) -> None:
        self._host = torch.empty(shape, dtype=torch.uint8, pin_memory=True)
        self._there = torch.empty(shape, dtype=torch.uint8, device=device)
        # Its memory belongs to the computing stream, but is not free while a copy is under way.
        self._there.record_stream(copying)
        self._copying = copying
        self._count = 0
        self._copied = torch.cuda.Event()
        self._used = torch.cuda.Event()
        # The allocator may have given memory that the computing stream has yet to read.
        self.used()

    def send(self, rows: NDArray[np.uint8]) -> None:
        """See ``Buffer``. The host waits for the last copy from here, and for nothing else."""
        self._copied.synchronize()
        self._count = len(rows)
        self._host[: self._count].numpy()[...] = rows
        with torch.cuda.stream(self._copying):
            self._copying.wait_event(self._used)
            self._there[: self._count].copy_(self._host[: self._count], non_blocking=True)
            self._copied.record(self._copying)

    def rows(self) -> Tensor:
        """See ``Buffer``. The computing stream waits for the copy, the host doesn't."""
        torch.cuda.current_stream(self._there.device).wait_event(self._copied)
        return self._there[: self._count]

    def used(self) -> None:
        """See ``Buffer``."""
        self._used.record(torch.cuda.current_stream(self._there.device))


class PlainBuffer:
    """The same for a device that is not CUDA: rows are copied at once.

    Args:
        device: Where to.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def send(self, rows: NDArray[np.uint8]) -> None:
        """See ``Buffer``."""
        self._there = torch.from_numpy(rows).to(self._device)

    def rows(self) -> Tensor:
        """See ``Buffer``."""
        return self._there

    def used(self) -> None:
        """See ``Buffer``."""


class Streamed:
    """Rows come through two buffers in turns: one is computed with, the other one is filled.

    Args:
        image_set: The images.
        labels: Theirs, int64, shape (N,), on the device.
        buffers: Makes as many buffers as are asked for, for batches of a shape; by default those
            that suit the device.
    """

    def __init__(
        self,
        image_set: ImageSet,
        labels: Tensor,
        buffers: Callable[[int, tuple[int, ...]], Sequence[Buffer]] | None = None,
    ) -> None:
        self._image_set = image_set
        self._labels = labels
        self._buffers = self._suitable if buffers is None else buffers

    def deliveries(self, order: Tensor, parts: Sequence[slice]) -> Iterator[Delivery]:
        """See ``Supply``; rows are read from the set while the device is busy with others."""
        there = to_device(order, self._labels.device)
        largest = max((part.stop - part.start for part in parts), default=0)
        # Of this epoch alone: another one over the same set may be under way.
        buffers = self._buffers(2, (largest, *self._image_set.image_shape))
        sent: deque[tuple[slice, Buffer]] = deque()
        for number, part in enumerate(parts):
            buffer = buffers[number % 2]
            buffer.send(self._image_set.images[order[part].numpy()])
            sent.append((part, buffer))
            if len(sent) == 2:
                yield from self._delivery(order, there, *sent.popleft())
        for part, buffer in sent:
            yield from self._delivery(order, there, part, buffer)

    def _delivery(
        self, order: Tensor, there: Tensor, part: slice, buffer: Buffer
    ) -> Iterator[Delivery]:
        indices = there[part]
        labels = self._labels.index_select(0, indices)
        yield Delivery(buffer.rows(), labels, indices, order[part])
        buffer.used()

    def _suitable(self, count: int, shape: tuple[int, ...]) -> Sequence[Buffer]:
        device = self._labels.device
        if device.type != "cuda":
            return [PlainBuffer(device) for _ in range(count)]
        copying = torch.cuda.Stream(device)
        return [PinnedBuffer(shape, device, copying) for _ in range(count)]
