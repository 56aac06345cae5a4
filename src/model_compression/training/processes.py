"""Several processes that train one network together, as PyTorch's elastic launcher starts them.

Knows torch.distributed; not what is trained. Each process takes its share of every batch, and what
belongs to the whole batch (gradients, statistics, sums) is brought together here, so that all
processes do what one would with the whole batch. Process 0 leads: it alone decides, and is heard.
"""

import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

T = TypeVar("T")

PATIENCE = timedelta(minutes=10)
"""How long a process waits in a step for another one before it gives the training up. Waiting for
what the first does alone (asking a teacher, exporting) has no such end: the launcher watches it."""

BUCKET_BYTES = 25 * 2**20
"""Gradients travel together up to this size: a few large messages are faster than many small."""

POLL_SECONDS = 0.05

# Of the numbers that processes draw for themselves; prime, so that no epoch's seed is met again.
_SEED_STEP = 179_424_673


class ProcessLostError(RuntimeError):
    """Another process of the training has ended, or does not answer."""


class ProcessesDisagreeError(RuntimeError):
    """The processes were given different things to do."""


@dataclass(frozen=True)
class Place:
    """Which of the launcher's processes this is."""

    rank: int
    """From 0 over all machines."""
    size: int
    """Processes in all."""
    local_rank: int
    """From 0 on this machine."""

    @property
    def leads(self) -> bool:
        """Whether it is the first."""
        return self.rank == 0


def launched() -> Place | None:
    """Where the elastic launcher put this process; ``None`` if it is the only one."""
    environment = os.environ
    if "TORCHELASTIC_RUN_ID" not in environment or int(environment["WORLD_SIZE"]) < 2:
        return None
    return Place(
        int(environment["RANK"]), int(environment["WORLD_SIZE"]), int(environment["LOCAL_RANK"])
    )


class Team:
    """The processes that share a training, seen from one of them.

    Every method but ``say`` and ``heard`` is called by all of them in the same order, and costs
    nothing where there is but one.

    Args:
        place: Which one this is.
        store: Where the processes leave words for each other; needed where there are several.
    """

    def __init__(self, place: Place | None = None, store: Store | None = None) -> None:
        self.rank = place.rank if place else 0
        self.size = place.size if place else 1
        self._store = store
        self._turns = 0

    @property
    def leads(self) -> bool:
        """Whether this process decides, writes and reports."""
        return self.rank == 0

    def seed(self, seed: int) -> int:
        """A seed of this process's own; the first one's is ``seed`` itself."""
        return seed + self.rank * _SEED_STEP

    def say(self, word: str, content: str = "") -> None:
        """Leaves a word that every process can hear from now on."""
        self._words.set(word, content)

    def heard(self, word: str) -> str | None:
        """What was said under this word; ``None`` if nothing yet."""
        return self._words.get(word).decode() if self._words.check([word]) else None

    def wait_for(self, *words: str) -> tuple[str, str]:
        """Waits, however long, until one of the words is said; gives it and what was said."""
        while True:
            for word in words:
                content = self.heard(word)
                if content is not None:
                    return word, content
            time.sleep(POLL_SECONDS)

    @contextmanager
    def leader_first(self) -> Iterator[None]:
        """The block runs in the first process, and when it has ended there, in the others."""
        if self.size == 1:
            yield
            return
        self._turns += 1
        word = f"turn/{self._turns}"
        if self.leads:
            yield
            self.say(word)
        else:
            self.wait_for(word)
            yield

    def of_leader(self, make: Callable[[], T]) -> T:
        """What ``make`` gives in the first process, in which alone it is called."""
        if self.size == 1:
            return make()
        found: list[Any] = [None]
        with self.leader_first():
            if self.leads:
                found = [make()]
        with _answered():
            dist.broadcast_object_list(found, src=0)
        return found[0]  # type: ignore[no-any-return]

    def agree(self, task: object) -> None:
        """Makes sure that all processes are about to do the same.

        Raises:
            ProcessesDisagreeError: If they are not.
        """
        if self.size == 1:
            return
        tasks: list[Any] = [None] * self.size
        with _answered():
            dist.all_gather_object(tasks, task)
        if any(other != tasks[0] for other in tasks):
            raise ProcessesDisagreeError(
                f"the processes were to train the same, but found {tasks}: give all of them the "
                "same code, parameters and data folder (on several machines, a shared one)"
            )

    def total(self, values: Tensor) -> Tensor:
        """The sum over the processes, in place."""
        return self._reduce(values, dist.ReduceOp.SUM)

    def largest(self, values: Tensor) -> Tensor:
        """The largest over the processes, elementwise, in place; of finite or infinite numbers."""
        return self._reduce(values, dist.ReduceOp.MAX)

    def gathered(self, values: Tensor) -> Tensor:
        """Those of all processes, (size, …)."""
        if self.size == 1:
            return values[None]
        found = [torch.empty_like(values) for _ in range(self.size)]
        with _answered():
            dist.all_gather(found, values)
        return torch.stack(found)

    def take_leaders(self, tensors: Iterable[Tensor]) -> None:
        """Overwrites the tensors with those of the first process."""
        if self.size == 1:
            return
        with torch.no_grad():
            for bucket in _buckets(list(tensors)):
                flat = _flat(bucket)
                with _answered():
                    # As bytes: not every backend knows every type.
                    dist.broadcast(flat.view(torch.uint8), src=0)
                _unflatten(flat, bucket)

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replaces each gradient by the sum over the processes."""
        if self.size == 1:
            return
        gradients = [each.grad for each in parameters if each.grad is not None]
        buckets = _buckets(gradients)
        flats = [_flat(bucket) for bucket in buckets]
        with _answered():
            works = [dist.all_reduce(flat, async_op=True) for flat in flats]
            for work in works:
                work.wait()
        for flat, bucket in zip(flats, buckets, strict=True):
            _unflatten(flat, bucket)

    def leave(self) -> None:
        """Ends the connection with the other processes."""
        if self.size > 1 and dist.is_initialized():
            dist.destroy_process_group()

    def _reduce(self, values: Tensor, how: Any) -> Tensor:
        if self.size > 1:
            with _answered():
                dist.all_reduce(values, op=how)
        return values

    @property
    def _words(self) -> Store:
        assert self._store is not None, "one process alone has nobody to talk to"
        return self._store


ALONE = Team()
"""The only process there is."""

_current = ALONE


def current_team() -> Team:
    """The processes that a training which begins now is shared by."""
    return _current


def share_with(team: Team) -> None:
    """From now on, trainings are shared by this team; by nobody if it is ``ALONE``."""
    global _current  # noqa: PLW0603  # every stage's training asks, and none of them passes it on
    _current = team


def join(place: Place) -> Team:
    """Meets the other processes that the launcher has started.

    Tensors on the CPU travel by gloo, those on a GPU by NCCL; each process gets a GPU of its own.

    Raises:
        RuntimeError: If this machine has fewer GPUs than processes, or the others don't come.
    """
    backend = "gloo"
    if torch.cuda.is_available():
        backend = "cpu:gloo,cuda:nccl"
        gpus = torch.cuda.device_count()
        if place.local_rank >= gpus:
            raise RuntimeError(
                f"torchrun started more processes on this machine than it has GPUs ({gpus}): take "
                f"--nproc-per-node={gpus}, or hide the GPUs by CUDA_VISIBLE_DEVICES= to train on "
                "the CPU"
            )
        torch.cuda.set_device(place.local_rank)
    # As init_process_group finds it by itself.
    store, _, _ = next(rendezvous("env://", place.rank, place.size, timeout=PATIENCE))
    with _answered():
        dist.init_process_group(
            backend,
            store=PrefixStore("group", store),
            rank=place.rank,
            world_size=place.size,
            timeout=PATIENCE,
        )
        # The launcher may keep its store over a restart; no word of the last training counts.
        names: list[Any] = [uuid.uuid4().hex]
        dist.broadcast_object_list(names, src=0)
    return Team(place, PrefixStore(names[0], store))


@contextmanager
def _answered() -> Iterator[None]:
    """What is said when another process does not answer."""
    try:
        yield
    except RuntimeError as error:
        raise ProcessLostError(
            f"another process of this training has ended or does not answer ({error}): its own "
            "message, or torchrun's summary, says why. The state after the last epoch is kept: "
            "the same command goes on from there, with as many processes as you like"
        ) from error


def _buckets(tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    """The tensors in groups that can travel as one: of one type and place, and not too large."""
    open_: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    full: list[list[Tensor]] = []
    sizes: dict[tuple[torch.dtype, torch.device], int] = {}
    for tensor in tensors:
        kind = (tensor.dtype, tensor.device)
        open_.setdefault(kind, []).append(tensor)
        sizes[kind] = sizes.get(kind, 0) + tensor.numel() * tensor.element_size()
        if sizes[kind] >= BUCKET_BYTES:
            full.append(open_.pop(kind))
            sizes[kind] = 0
    return [*full, *open_.values()]


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


def _unflatten(flat: Tensor, tensors: Sequence[Tensor]) -> None:
    parts = flat.split([tensor.numel() for tensor in tensors])
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.detach().copy_(part.view(tensor.shape))
