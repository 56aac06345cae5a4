import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model_compression import pictures
from model_compression.pictures import (
    PixelFormat,
    UnreadablePictureError,
    decode_files,
    read_picture,
)

FORMAT = PixelFormat(4, None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(4):
        Image.new("RGB", (40, 40), (number, 0, 0)).save(tmp_path / f"{number}.png")
    return tmp_path


def test_files_are_read_in_order_and_the_unreadable_among_them_named(folder: Path) -> None:
    (folder / "1.png").write_bytes(b"")
    (folder / "2.png").unlink()
    decoded = decode_files(str(folder), ["3.png", "1.png", "0.png", "2.png"], FORMAT)
    assert decoded.pixels.shape == (2, 3, 4, 4)
    assert decoded.pixels[:, 0, 0, 0].tolist() == [3, 0]
    assert decoded.unreadable == [(1, "the file is empty"), (3, "No such file or directory")]


def test_each_kind_of_damage_is_told_apart(folder: Path) -> None:
    whole = (folder / "0.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[:60])
    (folder / "text.png").write_bytes(b"no picture at all")
    Image.fromarray(np.ones((4, 4), dtype=np.float32)).save(folder / "numbers.tiff")
    (folder / "folder.png").mkdir()
    reasons = [
        ("cut.png", "truncated"),
        ("text.png", "^not a picture of a known format$"),
        ("numbers.tiff", "32-bit numbers"),
        ("folder.png", "^Is a directory$"),
    ]
    for name, reason in reasons:
        with pytest.raises(UnreadablePictureError, match=reason):
            read_picture(folder / name, FORMAT)


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.EMFILE, "Too many open files")])
def test_what_is_not_the_files_fault_is_no_reason_to_leave_it_out(
    folder: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(pictures, "fit_image", fail)
    with pytest.raises(type(error)):
        decode_files(str(folder), ["0.png"], FORMAT)


def test_a_process_that_decodes_loads_no_torch() -> None:
    code = "import sys, model_compression.pictures; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_worker_ends_when_the_process_is_killed_that_it_works_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pictures, "_SECONDS_BETWEEN_LOOKS", 0.02)
    ready, ready_in = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover - other processes
        parent = os.getpid()
        if os.fork() == 0:
            pictures.prepare_worker(parent)
            os.write(ready_in, b"%d\n" % os.getpid())
        time.sleep(60)
        os._exit(0)
    os.close(ready_in)
    assert int(os.read(ready, 99)) != child
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    began = time.monotonic()
    assert os.read(ready, 99) == b""  # the worker held the pipe's other end
    assert time.monotonic() - began < 30
    os.close(ready)
