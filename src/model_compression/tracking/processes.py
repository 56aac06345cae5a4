"""Which process this is, and whether another one is still there.

Knows hosts and processes; not runs.
"""

import os
import platform
import uuid
from pathlib import Path

import psutil

from model_compression.fingerprint import fingerprint

CLOCK_TOLERANCE = 2.0
"""Seconds by which a process's start may be told differently when the clock is set."""

MADE_UP = 1 << 40
"""Set in an address that Python has drawn, another in every process, as there is no network."""


def host_id() -> str:
    """Identifies the place whose process numbers can be compared with ours.

    The host's name, machine identifier and network address, and the namespace of process numbers,
    so that two containers never take each other's processes for gone.
    """
    namespace = Path("/proc/self/ns/pid")
    machine = Path("/etc/machine-id")
    address = uuid.getnode()
    return fingerprint(
        platform.node(),
        machine.read_text().strip() if machine.exists() else "",
        0 if address & MADE_UP else address,
        os.readlink(namespace) if namespace.exists() else "",
    )


def this_process() -> str:
    """Number and start of this process, as ``<number>@<seconds since 1970>``."""
    return f"{os.getpid()}@{psutil.Process().create_time():.2f}"


def is_gone(host: str, process: str) -> bool:
    """Whether ``process``, as it called itself, has ended; of another host's we never say so."""
    if host != host_id():
        return False
    number, _, started = process.partition("@")
    try:
        running = psutil.Process(int(number))
        is_another = abs(running.create_time() - float(started)) > CLOCK_TOLERANCE
        return bool(is_another or running.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
    except (psutil.AccessDenied, ValueError):
        return False
