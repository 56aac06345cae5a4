"""The one training loop: every stage's epochs run here, as a stream of resumable states.

Knows networks, objectives and batches; not Kedro, not which stage it serves, not why it is trained.
"""

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor, nn

from model_compression.evaluation import Score, Tally, tally
from model_compression.images import Batch, Batches, ImageSet
from model_compression.models.checkpoint import Checkpoint
from model_compression.training.execution import Execution, can_be_compiled, using_threads
from model_compression.training.hardware import autocast, exact_float32, place, resolve_device
from model_compression.training.objective import Objective
from model_compression.training.optimizers import (
    build_optimizer,
    load_optimizer,
    optimizer_state,
)
from model_compression.training.processes import current_team
from model_compression.training.progress import TrainingProgress, training_progress
from model_compression.training.readings import read_later
from model_compression.training.schedules import learning_rate_factor
from model_compression.training.settings import TrainingSettings
from model_compression.training.state import History, TrainingState
from model_compression.training.tuning import Sample, name_of, tune
from model_compression.training.whole_batch import whole_batch_statistics

logger = logging.getLogger(__name__)

STEPS_BETWEEN_LOSS_CHECKS = 50
"""A loss has to come from the device first, so it is not looked at after every step."""


class TrainingDivergedError(RuntimeError):
    """The loss became infinite or not a number; the last good state is kept."""


@dataclass(frozen=True)
class Trainee:
    """What is trained, towards what, and what else happens on the way."""

    model: nn.Module
    objective: Objective
    before_epoch: Callable[[int], None] = lambda epoch: None
    """Called with the epoch's number, from 0, before its first step (freezing observers, say)."""
    after_step: Callable[[], None] = lambda: None
    """Called after every update (holding a mask, say)."""
    after_average: Callable[[dict[str, Tensor]], None] = lambda averaged: None
    """Called with the moving average's tensors when it starts and whenever it has moved (holding a
    mask in them too, in place)."""
    ready_from: int = 0
    """First epoch, from 0, whose network may be taken for the best; until then it is the newest."""
    reshape: "Callable[[int, nn.Module], Trainee | None]" = lambda epoch, model: None
    """Called with the epoch's number and the network before anything else of the epoch happens.
    Training goes on with the ``Trainee`` that it gives, a narrower network, say; ``None`` is no
    change. To be resumed bit for bit, it must depend on nothing but these two."""


def fit(
    prepare: Callable[[], Trainee],
    start: Checkpoint,
    train: ImageSet,
    validation: ImageSet,
    settings: TrainingSettings,
    resume: TrainingState | None = None,
    fitted: Callable[[Mapping[str, Tensor]], Trainee] | None = None,
) -> Iterator[TrainingState]:
    """Trains, and yields the state after every epoch; the last one is finished.

    Every source of chance is a pure function of the seed and the epoch, so a training that goes on
    from a stored state reaches bit-identical weights on the same CPU and number of threads.

    Where several processes train together (``processes.share_with``), all of them call this alike,
    each sees its share of every batch, and all yield the same states, those of one process up to
    rounding.

    Args:
        prepare: Makes the network in its initial state and its objective; called only if there is
            something left to train.
        start: The checkpoint that this training makes, without weights yet: its spec, stage,
            classes, normalisation and fingerprint.
        train: Images to learn from.
        validation: Images to choose the best epoch by.
        settings: How to train.
        resume: A stored state. Of the same fingerprint, it is continued, or given back if it is
            finished; of another, it is ignored and the log says so.
        fitted: Makes what ``prepare`` makes, but with a network that the given weights fit into;
            called instead of it to go on from a stored state. Needed where networks are reshaped.

    Yields:
        The state after each epoch.

    Raises:
        TrainingDivergedError: If the loss is no longer finite.
        ValueError: If ``settings.compile`` is true and the network can't be compiled.
        ProcessesDisagreeError: If another process was to train something else.
        ProcessLostError: If another process has ended, or does not answer.
    """
    if resume is not None and resume.fingerprint != start.fingerprint:
        logger.info(
            "%s: its data, parameters or source checkpoints have changed since it was trained; "
            "it starts over",
            start.stage,
        )
        resume = None
    team = current_team()
    team.agree((start.stage, start.fingerprint, None if resume is None else resume.epoch))
    if resume is not None and resume.finished:
        logger.info("%s: nothing has changed, so the stored training is reused", start.stage)
        yield resume
        return
    if fitted is None:
        trainee = prepare()
    elif resume is not None:
        trainee = fitted(resume.weights)
    else:
        trainee = _as_leaders(prepare, fitted)
    yield from _Fit(trainee, start, train, validation, settings, resume, fitted).epochs()


def without_training(
    make: Callable[[], tuple[dict[str, Tensor], History]],
    start: Checkpoint,
    resume: TrainingState | None = None,
) -> TrainingState:
    """The finished state of a network that is made and not trained; reused as ``fit`` reuses one.

    Args:
        make: Makes the network's state and its history; called only if something has changed.
        start: The checkpoint that it becomes, without weights yet.
        resume: A stored state; of the same fingerprint, it is given back.
    """
    if resume is not None and resume.fingerprint == start.fingerprint and resume.finished:
        logger.info("%s: nothing has changed, so the stored network is reused", start.stage)
        return resume
    # Nothing is trained, so there is nothing to share: of several processes the first makes it, and
    # the others' states are read by nobody.
    weights, history = make() if current_team().leads else ({}, [])
    weights = _copy(weights)
    return TrainingState(
        best=replace(start, weights=weights),
        epoch=len(history),
        finished=True,
        weights=weights,
        averaged={},
        objective={},
        optimizer={"state": {}, "param_groups": []},
        history=history,
    )


class _Fit:
    """One run of ``fit``: what stays the same over its epochs."""

    def __init__(
        self,
        trainee: Trainee,
        start: Checkpoint,
        train: ImageSet,
        validation: ImageSet,
        settings: TrainingSettings,
        resume: TrainingState | None,
        fitted: Callable[[Mapping[str, Tensor]], Trainee] | None,
    ) -> None:
        self.team = current_team()
        self.fitted = fitted
        self.settings = settings
        self.start = start
        self.device = resolve_device(settings.device)
        self.batches = Batches(
            train,
            start.normalization,
            batch_size=settings.batch_size,
            device=self.device,
            seed=settings.seed,
            augmentation=settings.augmentation,
            shuffle=True,
            share=(self.team.rank, self.team.size),
            resident_share=settings.resident_share,
        )
        processes = f"{self.team.size} process" + ("es" if self.team.size > 1 else "")
        self.machine = f"{name_of(self.device)}, {processes}"
        self.execution = self._choose_execution(trainee, resume)
        self.batches.memory_format = self.execution.memory_format
        self.validation = Batches(
            validation,
            start.normalization,
            batch_size=max(settings.batch_size, 500),
            device=self.device,
            shuffle=False,
            channels_last=self.execution.channels_last,
            share=(self.team.rank, self.team.size),
            resident_share=settings.resident_share,
        )
        self.best: Checkpoint | None = None
        self.history: History = []
        self._take_up(trainee)
        if resume is not None:
            self._restore(resume)

    def _choose_execution(self, trainee: Trainee, resume: TrainingState | None) -> Execution:
        """As it was before the training was cut off, or as it is fixed, or what is fastest here."""
        choices = self.settings.choices
        compilable = trainee.objective.reads_logits_alone and self.team.size == 1
        if choices.compile is True and not (compilable and can_be_compiled(trainee.model)):
            raise ValueError(
                f"{self.start.stage}: training.compile is true, but a network can only be compiled "
                "where one process trains it, its method reads nothing of it but the logits "
                f"({type(trainee.objective).__name__} was asked for), and it is no graph captured "
                "for quantization: set compile to auto or false"
            )

        def choose() -> Execution:
            before = None if resume is None else self._as_before(resume)
            if before is not None and choices.allow(before):
                return before
            batch = next(self.batches.epoch(0))
            model = trainee.model.to(self.device)
            steps = self.settings.epochs * len(self.batches)
            sample = Sample(model, batch.images, batch.labels)
            return tune(sample, choices, steps, compilable=compilable)

        return self.team.of_leader(choose)

    def _as_before(self, resume: TrainingState) -> Execution | None:
        """How a training that goes on was computed, if by this machine and so many processes."""
        if resume.machine in ("", self.machine):  # before it was noted, it had none
            return resume.execution
        logger.info(
            "%s: it was trained by %s until now and goes on here, by %s: how its steps are "
            "computed is chosen anew",
            self.start.stage,
            resume.machine,
            self.machine,
        )
        return None

    def _as_it_is(self) -> AbstractContextManager[object]:
        """Within it, a compiled network runs uncompiled: in few batches, or to be looked into."""
        if self.execution.compiled:
            return torch.compiler.set_stance("force_eager")  # type: ignore[no-any-return]
        return nullcontext()

    def _take_up(self, trainee: Trainee) -> None:
        """Makes ``trainee`` what is trained from now on, with a fresh optimiser and average."""
        self.trainee = trainee
        self.model = place(trainee.model, self.device, self.execution.channels_last)
        if self.execution.compiled:
            self.model.compile()
        self.objective = trainee.objective.to(self.device)
        self.parameters = [*self.model.parameters(), *self.objective.parameters()]
        self.optimizer = build_optimizer(self.parameters, self.settings.optimizer)
        self.averaged: dict[str, Tensor] = {}
        if self.settings.ema_decay is not None:
            self.averaged = {
                name: value.detach().clone() for name, value in self.model.state_dict().items()
            }
            trainee.after_average(self.averaged)

    def _reshape(self, epoch: int) -> None:
        """Goes on with another network if there is one for this epoch."""
        with self._as_it_is():
            trainee = self._reshaped(epoch)
        if trainee is None:
            return
        learned = self.objective.state_dict()
        self._take_up(trainee)
        # What an objective has learned beside the network (a peer, a generator) is worth keeping;
        # projections from layers that have become narrower can't be.
        if _alike(learned, self.objective.state_dict()):
            self.objective.load_state_dict(learned)

    def _reshaped(self, epoch: int) -> Trainee | None:
        if self.fitted is None or self.team.size == 1:
            return self.trainee.reshape(epoch, self.model)
        changed: list[Trainee | None] = [None]

        def weights() -> dict[str, Tensor] | None:
            changed[0] = self.trainee.reshape(epoch, self.model)
            return None if changed[0] is None else _copy(changed[0].model.state_dict())

        shape = self.team.of_leader(weights)
        return changed[0] if shape is None or self.team.leads else self.fitted(shape)

    def _restore(self, state: TrainingState) -> None:
        self.model.load_state_dict(state.weights)
        self.objective.load_state_dict(state.objective)
        load_optimizer(self.optimizer, state.optimizer)
        for parameter, slot in self.optimizer.state.items():
            slot.update({name: _laid_out_as(parameter, value) for name, value in slot.items()})
        now = self.model.state_dict()
        self.averaged = {
            name: _laid_out_as(now[name], value) for name, value in state.averaged.items()
        }
        self.best = state.best
        self.history = list(state.history)
        logger.info("%s: goes on after epoch %d", self.start.stage, state.epoch)

    def epochs(self) -> Iterator[TrainingState]:
        done = len(self.history)
        logger.info(
            "%s: %d epochs on %s in %s",
            self.start.stage,
            self.settings.epochs - done,
            self.device,
            self.execution,
        )
        with training_progress(
            self.start.stage,
            self.settings.epochs,
            len(self.batches),
            done,
            shown=self.team.leads,
        ) as progress:
            for epoch in range(done, self.settings.epochs):
                with using_threads(self.execution.threads), exact_float32():
                    state = self._epoch(epoch, progress)
                yield state

    def _epoch(self, epoch: int, progress: TrainingProgress) -> TrainingState:
        started = time.perf_counter()
        self._reshape(epoch)
        # Dropout draws from the global generator: seeding it anew every epoch makes a resumed
        # epoch draw what the uninterrupted one drew.
        torch.manual_seed(self.team.seed(self.settings.seed * 1_000_003 + epoch))
        # Chance that is left to a process before (a peer's first weights), and rounding where the
        # machines differ, must not add up.
        self.team.take_leaders(self._state())
        self.trainee.before_epoch(epoch)
        try:
            with whole_batch_statistics(self.team, self.model, self.objective):
                loss, accuracy = self._train(epoch, progress)
        except FloatingPointError as error:
            raise self._diverged(str(error), epoch) from error
        validated = self._validate()
        self._require_finite(validated.loss, epoch, "on the validation images")
        row = {
            "epoch": epoch + 1,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "train_loss": loss,
            "train_accuracy": accuracy,
            "validation_loss": validated.loss,
            "validation_accuracy": validated.accuracy,
            "seconds": time.perf_counter() - started,
        }
        is_best = self._is_best(validated.loss, epoch)
        self.history = [*self.history, row]
        left = (self.settings.epochs - epoch - 1) * row["seconds"]
        progress.epoch(row, left)
        weights = _copy(self.model.state_dict())
        if self.best is None or is_best:
            self.best = replace(
                self.start,
                weights=_copy(self.averaged) if self.averaged else weights,
                details={
                    **self.start.details,
                    "best_epoch": epoch + 1,
                    "execution": asdict(self.execution),
                },
            )
        return TrainingState(
            best=self.best,
            epoch=epoch + 1,
            finished=epoch + 1 == self.settings.epochs,
            weights=weights,
            averaged=_copy(self.averaged),
            objective=_copy(self.objective.state_dict()),
            optimizer=optimizer_state(self.optimizer),
            history=self.history,
            execution=self.execution,
            machine=self.machine,
        )

    def _is_best(self, loss: float, epoch: int) -> bool:
        """Whether the network of this loss, that of ``epoch``, is the one to keep.

        By loss, not accuracy: on a few thousand images the accuracies of neighbouring epochs differ
        by chance alone, and an epoch before the schedule's end would often be taken.
        """
        ready = self.trainee.ready_from
        rivals = self.history[ready:epoch] if epoch >= ready else []
        return all(loss <= earlier["validation_loss"] for earlier in rivals)

    def _train(self, epoch: int, progress: TrainingProgress) -> tuple[float, float]:
        """One pass over the training images; its mean loss and accuracy."""
        self.model.train()
        self.objective.train()
        steps = len(self.batches)
        total_loss = torch.zeros((), device=self.device)
        correct = torch.zeros((), dtype=torch.int64, device=self.device)
        # A GPU is asked for a loss and goes on; it is looked at when the next one is asked for, so
        # that nothing is waited for before the last step.
        asked: deque[tuple[int, Callable[[], float]]] = deque()
        unread = 0 if self.device.type == "cpu" else 1
        loss = 0.0
        for index, batch in enumerate(self.batches.epoch(epoch)):
            step = epoch * steps + index
            self._set_learning_rate(step)
            with autocast(self.execution.dtype, self.device):
                output = self.objective(batch, self.model)
            self.optimizer.zero_grad(set_to_none=True)
            self._backward(output.loss, batch)
            if self.settings.gradient_clip is not None:
                nn.utils.clip_grad_norm_(self.parameters, self.settings.gradient_clip)
            self.optimizer.step()
            self.trainee.after_step()
            if self.averaged:
                self._average()
            with torch.no_grad():
                total_loss += output.loss.detach() * len(batch.labels)
                labels = batch.labels if output.labels is None else output.labels
                correct += (output.logits.argmax(1) == labels).sum()
            progress.step(step + 1, epoch + 1)
            if index % STEPS_BETWEEN_LOSS_CHECKS == 0 or index + 1 == steps:
                asked.append((index + 1, read_later(self.team.total(total_loss.clone()))))
                while len(asked) > (0 if index + 1 == steps else unread):
                    after, read = asked.popleft()
                    loss = read()
                    self._require_finite(loss, epoch, f"by step {after}")
        images = steps * self.batches.images_a_batch
        return loss / images, read_later(self.team.total(correct))() / images

    def _backward(self, loss: Tensor, batch: Batch) -> None:
        """The gradient of the whole batch's loss, this process's part weighed by its share."""
        if self.team.size == 1:
            loss.backward()
            return
        (loss * (len(batch.labels) / self.batches.images_a_batch)).backward()
        self.team.sum_gradients(self.parameters)

    def _state(self) -> list[Tensor]:
        """What a step changes: the network's tensors, the objective's and the average's."""
        modules = (self.model.state_dict(), self.objective.state_dict(), self.averaged)
        return [tensor for tensors in modules for tensor in tensors.values()]

    def _set_learning_rate(self, step: int) -> None:
        factor = learning_rate_factor(
            step, len(self.batches), self.settings.epochs, self.settings.schedule
        )
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.optimizer.learning_rate * factor

    def _require_finite(self, loss: float, epoch: int, where: str) -> None:
        if not math.isfinite(loss):
            raise self._diverged(f"the loss was {loss} {where}", epoch)

    def _diverged(self, what: str, epoch: int) -> TrainingDivergedError:
        kept = f"the state after epoch {epoch} is kept" if epoch else "no epoch was finished"
        return TrainingDivergedError(
            f"{self.start.stage}: {what} in epoch {epoch + 1}; {kept}. Finite numbers were "
            "expected: lower optimizer.learning_rate (now "
            f"{self.settings.optimizer.learning_rate:g}), set gradient_clip, or train in float32"
        )

    @torch.no_grad()
    def _average(self) -> None:
        decay = self.settings.ema_decay
        assert decay is not None
        means: list[Tensor] = []
        values: list[Tensor] = []
        for name, value in self.model.state_dict().items():
            mean = self.averaged[name]
            if mean.is_floating_point():
                means.append(mean)
                values.append(value)
            else:
                mean.copy_(value)
        # All at once: on a GPU a few kernels instead of one for each tensor.
        torch._foreach_lerp_(means, values, 1.0 - decay)
        self.trainee.after_average(self.averaged)

    def _validate(self) -> Score:
        """Scores what would be kept: the averaged weights if there are any."""
        with self._as_it_is(), autocast(self.execution.dtype, self.device):
            if not self.averaged:
                return self._score()
            raw = _copy(self.model.state_dict())
            self.model.load_state_dict(self.averaged)
            try:
                return self._score()
            finally:
                self.model.load_state_dict(raw)

    def _score(self) -> Score:
        sums = torch.tensor(tally(self.model, self.validation), dtype=torch.float64)
        return Tally(*self.team.total(sums).tolist()).score


def _as_leaders(
    prepare: Callable[[], Trainee], fitted: Callable[[Mapping[str, Tensor]], Trainee]
) -> Trainee:
    """What ``prepare`` makes in the first of several processes, and in the others one that fits it.

    So what it measures (a latency, say) is measured once.
    """
    team = current_team()
    if team.size == 1:
        return prepare()
    made: list[Trainee] = []

    def weights() -> dict[str, Tensor]:
        made.append(prepare())
        return _copy(made[0].model.state_dict())

    shape = team.of_leader(weights)
    return made[0] if made else fitted(shape)


def _laid_out_as(model: Tensor, value: Tensor) -> Tensor:
    """``value``, placed and laid out in memory as ``model`` is, as if training had not paused."""
    if value.shape != model.shape:
        return value
    return torch.empty_like(model, dtype=value.dtype).copy_(value)


def _alike(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    """Whether both have tensors of the same names and shapes."""
    return first.keys() == second.keys() and all(
        first[name].shape == second[name].shape for name in first
    )


def _copy(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
