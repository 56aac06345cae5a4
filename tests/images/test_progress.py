import io
import logging

import pytest
from rich.console import Console

from model_compression.images import progress
from model_compression.images.progress import image_progress


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def console(monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> io.StringIO:
    screen = io.StringIO()
    made = Console(file=screen, force_terminal=terminal, width=120)
    monkeypatch.setattr(progress, "get_console", lambda: made)
    return screen


@pytest.mark.parametrize("terminal", [True, False])
def test_what_is_over_in_a_moment_is_not_mentioned(
    terminal: bool,
    clock: list[float],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    screen = console(monkeypatch, terminal=terminal)
    with (
        caplog.at_level(logging.INFO, "model_compression"),
        image_progress("images of x", 10) as shown,
    ):
        clock[0] += 1
        shown.reach(10)
    assert caplog.messages == []
    assert "images" not in screen.getvalue()


def test_without_a_terminal_there_is_a_line_now_and_then(
    clock: list[float], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    console(monkeypatch, terminal=False)
    with (
        caplog.at_level(logging.INFO, "model_compression"),
        image_progress("images of train", 3000, 1000) as shown,
    ):
        for done in range(1100, 3100, 100):
            clock[0] += 4
            shown.reach(done)
    assert caplog.messages == [
        "images of train · 1,800 of 3,000 · 25 images/s · 48 s left",
        "images of train · 2,600 of 3,000 · 25 images/s · 16 s left",
        "images of train · 2,000 in 80 s · 25 images/s",
    ]


def test_a_terminal_gets_a_bar(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    screen = console(monkeypatch, terminal=True)
    with image_progress("images of train", 1000) as shown:
        clock[0] += 10
        shown.reach(500)
    assert "images of train" in screen.getvalue()
    assert "500/1,000" in screen.getvalue()
    assert "50 images/s" in screen.getvalue()
