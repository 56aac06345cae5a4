"""What becomes of the runs when the process ends, however it ends.

Knows processes and signals. An orderly end of Python, Ctrl-C and SIGTERM are ours to handle; what
kills a process at once is seen by the watcher.
"""

import atexit
import json
import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

logger = logging.getLogger(__name__)

WATCHER = Path(__file__).with_name("watcher.py")


class Lifetime:
    """From the opening of a run to its end; ``on_exit`` is called if the process ends before."""

    def __init__(self, on_exit: Callable[[], None]) -> None:
        self._on_exit = on_exit
        self._watcher: subprocess.Popen[bytes] | None = None
        self._former_handler: Any = None

    def begin(self) -> None:
        """Starts the watcher, and makes an end by SIGTERM an orderly one."""
        atexit.register(self._on_exit)
        in_main_thread = threading.current_thread() is threading.main_thread()
        if in_main_thread and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
            self._former_handler = signal.signal(signal.SIGTERM, _exit)
        try:
            self._watcher = subprocess.Popen(
                # -P: the folder of the script, ours, is not for imports by bare name.
                [sys.executable, "-P", str(WATCHER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # what is sent to our group is not for it
            )
        except OSError as error:
            logger.warning(
                "If this process is killed, its runs stay open until the next: %s", error
            )

    def watch(self, uri: str, runs: Sequence[str]) -> None:
        """Tells the watcher which runs are open now."""
        if self._watcher is None or self._watcher.stdin is None:
            return
        try:
            self._watcher.stdin.write(json.dumps({"uri": uri, "runs": list(runs)}).encode() + b"\n")
            self._watcher.stdin.flush()
        except OSError:  # it was killed; the next run heals what this one leaves
            self._watcher = None

    def end(self) -> None:
        """The runs have ended: the watcher goes, and signals mean what they did."""
        atexit.unregister(self._on_exit)
        if self._former_handler is not None:
            signal.signal(signal.SIGTERM, self._former_handler)
            self._former_handler = None
        if self._watcher is not None:
            self.watch("", [])
        if self._watcher is not None:
            self._watcher.communicate()
            self._watcher = None


def _exit(number: int, frame: FrameType | None) -> NoReturn:
    """Leaves by the way on which all clean-up is done, with a shell's status for a signal."""
    sys.exit(128 + number)
