"""What a person sees while many images are decoded: a bar on a terminal, else some lines.

Knows numbers and the console. What is over in a moment is not shown at all.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich import get_console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_log = logging.getLogger(__name__)

_SILENT_SECONDS = 2.0
_SECONDS_BETWEEN_LINES = 30.0


class ImageProgress:
    """Tells how far it has come; made by ``image_progress``.

    Args:
        task: What is done, as ``decodes images of train``.
        total: Images in all.
        done: Images that were there from the start.
        bar: None where there is no terminal.
    """

    def __init__(self, task: str, total: int, done: int, bar: Progress | None) -> None:
        self._task = task
        self._total = total
        self._at_first = done
        self._done = done
        self._bar = bar
        self._row = (
            None if bar is None else bar.add_task(task, total=total, visible=False, speed="")
        )
        self._began = self._last_line = time.monotonic()

    @property
    def _speed(self) -> float:
        seconds = time.monotonic() - self._began
        return (self._done - self._at_first) / max(seconds, 1e-9)

    def reach(self, done: int) -> None:
        """``done`` images in all are finished."""
        self._done = done
        now = time.monotonic()
        if now - self._began < _SILENT_SECONDS:
            return
        if self._bar is not None and self._row is not None:
            self._bar.update(
                self._row, completed=done, visible=True, speed=f"{self._speed:,.0f} images/s"
            )
        elif now - self._last_line > _SECONDS_BETWEEN_LINES:
            self._last_line = now
            _log.info(
                "%s · %s of %s · %s images/s · %.0f s left",
                self._task,
                f"{done:,}",
                f"{self._total:,}",
                f"{self._speed:,.0f}",
                (self._total - done) / max(self._speed, 1e-9),
            )

    def end(self) -> None:
        """Sums up, unless it was over in a moment."""
        seconds = time.monotonic() - self._began
        if seconds >= _SILENT_SECONDS:
            _log.info(
                "%s · %s in %.0f s · %s images/s",
                self._task,
                f"{self._done - self._at_first:,}",
                seconds,
                f"{self._speed:,.0f}",
            )


@contextmanager
def image_progress(task: str, total: int, done: int = 0) -> Iterator[ImageProgress]:
    """Shows the progress of ``task`` while the block runs, starting after ``done`` images."""
    console = get_console()
    if not console.is_terminal:
        progress = ImageProgress(task, total, done, None)
        yield progress
    else:
        columns = (
            TextColumn("[bold]{task.description}[/bold] {task.completed:,}/{task.total:,}"),
            BarColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console, transient=True) as bar:
            progress = ImageProgress(task, total, done, bar)
            yield progress
    progress.end()
