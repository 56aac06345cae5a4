"""What a person sees of a long training: a bar on a terminal, a line an epoch elsewhere.

Knows numbers and the console, not training.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from rich import get_console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

logger = logging.getLogger(__name__)


class TrainingProgress:
    """Reports steps and epochs of one stage; made by ``training_progress``."""

    def __init__(self, stage: str, epochs: int, bar: Progress | None, steps: int) -> None:
        self._stage = stage
        self._epochs = epochs
        self._bar = bar
        if bar is not None:
            self._task = bar.add_task(stage, total=steps, epoch=0, numbers="")

    def step(self, done: int, epoch: int) -> None:
        """Moves the bar to ``done`` steps in all, in ``epoch`` (from 1)."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, epoch=epoch)

    def epoch(self, row: dict[str, float], seconds_left: float) -> None:
        """Shows the finished epoch's row of the history."""
        numbers = (
            f"loss {row['train_loss']:.4f} · validation accuracy {row['validation_accuracy']:.4f}"
        )
        if self._bar is not None:
            self._bar.update(self._task, numbers=numbers)
        else:
            logger.info(
                "%s · epoch %d/%d · %s · %.1f s · %.0f s left",
                self._stage,
                row["epoch"],
                self._epochs,
                numbers,
                row["seconds"],
                seconds_left,
            )


@contextmanager
def training_progress(
    stage: str, epochs: int, steps_per_epoch: int, done: int, *, shown: bool = True
) -> Iterator[TrainingProgress]:
    """Shows the progress of ``stage`` while the block runs, starting after ``done`` epochs.

    Of several processes that train together, one is ``shown``: they share a terminal.
    """
    steps = epochs * steps_per_epoch
    console = get_console()
    if not (shown and console.is_terminal):
        yield TrainingProgress(stage, epochs, None, steps)
        return
    columns = (
        TextColumn("[bold]{task.description}[/bold] epoch {task.fields[epoch]}/" + str(epochs)),
        BarColumn(),
        TextColumn("{task.fields[numbers]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        progress = TrainingProgress(stage, epochs, bar, steps)
        progress.step(done * steps_per_epoch, done)
        yield progress
