"""Chooses the fastest way to compute a step, by timing a few on the machine that will train.

Knows a network, a batch and what may be chosen; what is learned, and for how long, is told to it.
"""

import copy
import json
import logging
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from platformdirs import user_cache_path
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn
from torch.nn import functional

from model_compression.files import atomic_write
from model_compression.fingerprint import fingerprint
from model_compression.machine import processor
from model_compression.training.execution import Execution, can_be_compiled, using_threads
from model_compression.training.hardware import (
    Precision,
    autocast,
    exact_float32,
    place,
    resolve_precision,
)

logger = logging.getLogger(__name__)

Auto = Literal["auto"]

WORTH_STEPS = 1000
"""A training of fewer steps is over before it has paid for looking."""
WORTH_COMPILING_SECONDS = 1800.0
"""A trial of compiling takes tens of seconds; a training that is longer than this, 2 % at most."""
ROUNDS = 5
"""Ways are timed in turns, and their medians compared."""
PATIENCE_SECONDS = 4.0
"""After this long, two ways have been compared enough, whatever the number of rounds."""
MARGIN = 0.95
"""Another way must take less than this share of the time: noise should not decide."""

CACHE_VARIABLE = "MODEL_COMPRESSION_CACHE"
"""Names another folder than the user's cache folder."""


class Choices(NamedTuple):
    """What is left to choose; anything but ``auto`` is fixed."""

    precision: Precision = "auto"
    channels_last: bool | Auto = "auto"
    compile: bool | Auto = "auto"
    threads: int | Auto = "auto"

    def usual(self, device: torch.device) -> Execution:
        """What is taken unless something else proves to be faster."""
        dtype = resolve_precision(self.precision, device)
        return Execution(
            precision="bfloat16" if dtype == torch.bfloat16 else "float32",
            channels_last=self.channels_last is not False,
            compiled=self.compile is True,
            threads=torch.get_num_threads() if self.threads == "auto" else self.threads,
        )

    def allow(self, way: Execution) -> bool:
        """Whether all that is fixed is as in ``way``."""
        return all(
            asked in ("auto", value)
            for asked, value in zip(
                self, (way.precision, way.channels_last, way.compiled, way.threads), strict=True
            )
        )

    @property
    def leave_something(self) -> bool:
        """Whether there is anything to choose."""
        return "auto" in self


@dataclass(frozen=True)
class Sample:
    """What is timed: forward and backward of a network on one batch that is already there."""

    model: nn.Module
    images: Tensor
    """(N, C, H, W), float32, on the device."""
    labels: Tensor
    """(N,), int64, the images' classes."""

    def step(self, way: Execution) -> Callable[[], float]:
        """A function that computes one step in this way and gives its seconds.

        It works on a copy: neither weights nor statistics of ``model`` move.
        """
        device = self.images.device
        model = place(copy.deepcopy(self.model), device, way.channels_last).train()
        if way.compiled:
            model.compile()
        images = self.images.contiguous(memory_format=way.memory_format)

        def timed() -> float:
            with using_threads(way.threads), exact_float32():
                _wait_for(device)
                started = time.perf_counter()
                with autocast(way.dtype, device):
                    logits = model(images)
                functional.cross_entropy(logits.float(), self.labels).backward()
                model.zero_grad(set_to_none=True)
                _wait_for(device)
                return time.perf_counter() - started

        return timed


@dataclass(frozen=True)
class Finding:
    """What was measured of one kind of step on one machine."""

    execution: Execution
    """The fastest way that was tried, compiling aside where that is to be chosen."""
    seconds: float
    """Of a step in that way."""
    compiled_seconds: float | None = None
    """Of a step in that way, compiled; None: it was not tried."""
    start_seconds: float = 0.0
    """How long compiling took."""

    def best_for(self, steps: int) -> Execution:
        """The way that is fastest for so many steps: compiled, if that pays for its own start."""
        if self.compiled_seconds is None or self.compiled_seconds >= MARGIN * self.seconds:
            return self.execution
        saved = (self.seconds - self.compiled_seconds) * steps
        return (
            replace(self.execution, compiled=True) if saved > self.start_seconds else self.execution
        )


def tune(sample: Sample, choices: Choices, steps: int, *, compilable: bool = True) -> Execution:
    """The way that is fastest here for ``steps`` steps like the sample's.

    Precision, layout in memory, threads and compiling are tried one after the other, each against
    the best so far. What was measured is kept for this machine, network and kind of batch; what
    follows from it for so many steps is decided each time.

    Args:
        sample: What to time.
        choices: What is fixed and what is to be chosen.
        steps: How many will be computed; few of them are computed in the usual way.
        compilable: Whether nobody will look inside of the network while it runs.
    """
    device = sample.images.device
    usual = choices.usual(device)
    if not choices.leave_something or steps < WORTH_STEPS:
        return usual
    memory = Memory(cache_folder() / "executions.json")
    key = _key(sample, choices, compilable)
    known = memory.find(key)
    found, seen = known, dict[Execution, float]()
    started = time.perf_counter()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        if found is None:
            found = _search(sample, choices, usual, seen)
        if (
            choices.compile == "auto"
            and compilable
            and found.compiled_seconds is None
            and steps * found.seconds > WORTH_COMPILING_SECONDS
            and can_be_compiled(sample.model)
        ):
            found = _compile(sample, found, seen)
    best = found.best_for(steps)
    if found is known:
        logger.info("steps are computed in %s, which was the fastest way before", best)
        return best
    memory.keep(key, found)
    logger.info(
        "steps are computed in %s: the fastest of %s; looking took %.1f s. To have it everywhere, "
        "set training to %s",
        best,
        "; ".join(f"{way} {1000 * seconds:.3g} ms" for way, seconds in seen.items()),
        time.perf_counter() - started,
        json.dumps(best.as_settings()),
    )
    return best


def _search(
    sample: Sample, choices: Choices, usual: Execution, seen: dict[Execution, float]
) -> Finding:
    """The fastest of all that need no start of their own; what each took goes into ``seen``."""
    race = _Race(sample, usual, seen)
    if choices.precision == "auto" and usual.precision == "bfloat16":
        race.against(replace(race.best, precision="float32"))
    if choices.channels_last == "auto":
        race.against(replace(race.best, channels_last=not usual.channels_last))
    if choices.threads == "auto" and sample.images.device.type == "cpu":
        while race.best.threads > 1:
            if not race.against(replace(race.best, threads=race.best.threads // 2)):
                break
    return Finding(race.best, race.seconds)


def _compile(sample: Sample, found: Finding, seen: dict[Execution, float]) -> Finding:
    """The same finding, and what compiling brings and costs."""
    way = replace(found.execution, compiled=True)
    race = _Race(sample, found.execution, seen)
    race.against(way)
    return Finding(found.execution, seen[found.execution], seen[way], race.start)


class _Race:
    """The best way so far, and how long a step takes in it."""

    def __init__(self, sample: Sample, first: Execution, seen: dict[Execution, float]) -> None:
        self.sample = sample
        self.best = first
        self.seen = seen
        self._step = sample.step(first)
        self.start = self._step()
        """Of the way that came last, the first step's seconds: what it costs to begin."""

    @property
    def seconds(self) -> float:
        """Of a step in the best way."""
        if self.best not in self.seen:
            self.seen[self.best] = statistics.median(self._step() for _ in range(3))
        return self.seen[self.best]

    def against(self, other: Execution) -> bool:
        """Times both in turns; whether ``other`` won and is now the best."""
        step = self.sample.step(other)
        self.start = step()
        mine: list[float] = []
        others: list[float] = []
        began = time.perf_counter()
        while len(mine) < ROUNDS and (not mine or time.perf_counter() - began < PATIENCE_SECONDS):
            mine.append(self._step())
            others.append(step())
        here, there = statistics.median(mine), statistics.median(others)
        self.seen |= {self.best: here, other: there}
        wins = there < MARGIN * here
        if wins:
            self.best, self._step = other, step
        return wins


class Memory:
    """What was found before, in one small JSON file, which can be deleted at any time.

    Args:
        path: Need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def find(self, key: str) -> Finding | None:
        """What is known of ``key``; nothing if the file is damaged or of another version."""
        try:
            return _FINDINGS.validate_python(self._read().get(key))
        except ValidationError:
            return None

    def keep(self, key: str, found: Finding) -> None:
        """Remembers it. A folder that can't be written costs the memory, not the training."""
        known = self._read() | {key: {**asdict(found), "machine": processor()}}
        try:
            with atomic_write(self.path) as temporary:
                temporary.write_text(json.dumps(known, indent=1) + "\n")
        except OSError as error:
            logger.warning("%s can't be written (%s): next time it is timed anew", self.path, error)

    def _read(self) -> dict[str, Any]:
        try:
            known = json.loads(self.path.read_text())
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}


_FINDINGS = TypeAdapter(Finding)


def name_of(device: torch.device) -> str:
    """The machine that computes there: a graphics card's name, or the processor's."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else processor()


def cache_folder() -> Path:
    """Where this machine's findings are kept: the user's cache folder, or ``CACHE_VARIABLE``'s."""
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named) if named else user_cache_path("model_compression")


def _key(sample: Sample, choices: Sequence[Any], compilable: bool) -> str:
    """Machine, network, kind of batch, and what may be chosen."""
    tensors = sample.model.state_dict().items()
    return fingerprint(
        name_of(sample.images.device),
        torch.get_num_threads(),
        torch.__version__,
        str(sample.model),
        [(tensor_name, list(tensor.shape)) for tensor_name, tensor in tensors],
        list(sample.images.shape),
        list(choices),
        compilable,
    )


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
