import io
import logging

from rich.console import Console

from model_compression.training import progress as module
from model_compression.training.progress import training_progress

ROW = {
    "epoch": 2,
    "learning_rate": 0.1,
    "train_loss": 0.4321,
    "train_accuracy": 0.8,
    "validation_loss": 0.5,
    "validation_accuracy": 0.8765,
    "seconds": 3.2,
}


def test_without_a_terminal_an_epoch_is_one_line(monkeypatch, caplog):
    monkeypatch.setattr(module, "get_console", lambda: Console(file=io.StringIO()))
    with caplog.at_level(logging.INFO), training_progress("student", 5, 10, 1) as progress:
        progress.step(11, 2)
        progress.epoch(ROW, seconds_left=9.6)
    assert caplog.messages == [
        "student · epoch 2/5 · loss 0.4321 · validation accuracy 0.8765 · 3.2 s · 10 s left"
    ]


def test_on_a_terminal_a_bar_shows_epoch_loss_accuracy_and_time_left(monkeypatch, caplog):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=140)
    monkeypatch.setattr(module, "get_console", lambda: console)
    with caplog.at_level(logging.INFO), training_progress("student", 5, 10, 1) as progress:
        progress.step(20, 2)
        progress.epoch(ROW, seconds_left=9.6)
    shown = screen.getvalue()
    for part in ("student", "epoch 2/5", "loss 0.4321", "validation accuracy 0.8765", "0:00:0"):
        assert part in shown
    assert caplog.messages == []
