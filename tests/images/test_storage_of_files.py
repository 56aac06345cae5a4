"""A folder of pictures on its way to the disk: unreadable files, kills, many processes."""

import json
import logging
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from model_compression.images import (
    DataParameters,
    ImageSet,
    ImageSetError,
    ImageSourceError,
    Splits,
    file_images,
    load_images,
    read_image_set,
    storage,
    write_image_set,
)

DAMAGED = 6
"""Of the class ``a``: files that can't be read."""


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """40 pictures of three classes, each with a grey of its own."""
    grey = 0
    for name, count in (("a", 20), ("b", 12), ("c", 8)):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(count):
            picture = Image.new("L", (9, 8), grey)
            picture.save(tmp_path / "pictures" / name / f"{number:02}.png")
            grey += 5
    return tmp_path / "pictures"


@pytest.fixture
def damaged(pictures: Path) -> list[Path]:
    """Files of which each is unreadable in another way, and some twice."""
    paths = sorted((pictures / "a").iterdir())[:DAMAGED]
    whole = paths[0].read_bytes()
    for path, content in zip(paths, [b"", b"text", whole[:43], b"", b"\0" * 99], strict=False):
        path.write_bytes(content)
    paths[5].unlink()
    paths[5].symlink_to(pictures / "nowhere")
    return paths


def splits(pictures: Path, **source: Any) -> Splits:
    settings = {"kind": "folder", "path": str(pictures), "workers": 1, "test_fraction": 0.25}
    parameters = {"source": settings | source, "image_size": 4, "channels": 1}
    return load_images(
        DataParameters.model_validate(parameters | {"validation_fraction": 0.25}), Path()
    )


def write(parts: Splits, folder: Path) -> Splits:
    for name, part in zip(Splits._fields, parts, strict=True):
        write_image_set(part, folder / name)
    return Splits(*(read_image_set(folder / name) for name in Splits._fields))


def greys(image_set: ImageSet) -> list[int]:
    return [int(grey) for grey in image_set.images[:][:, 0, 0, 0]]


def by_grey(parts: Splits) -> dict[int, tuple[str, int]]:
    """Part and label of every image, which its grey tells from all others."""
    return {
        grey: (name, int(label))
        for name, part in zip(Splits._fields, parts, strict=True)
        for grey, label in zip(greys(part), part.labels, strict=True)
    }


def test_refusing_names_the_files_of_all_three_sets_at_once(
    pictures: Path, damaged: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(ImageSourceError) as caught:
        write(splits(pictures), tmp_path / "sets")
    message = str(caught.value)
    listed = tmp_path / "sets" / "train" / "unreadable.txt"
    assert message.startswith(f"{DAMAGED} of 40 images can't be read; {listed} names them all:\n")
    assert all(f"  {path}: " in message for path in damaged)
    assert "00.png: the file is empty" in message
    assert "05.png: No such file or directory" in message
    assert "set data.source.unreadable to skip" in message
    with pytest.raises(ImageSetError, match="no complete image set"):
        read_image_set(tmp_path / "sets" / "train")


def test_a_long_list_is_cut_in_the_message_and_whole_in_a_file_until_all_can_be_read(
    pictures: Path, damaged: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "_NAMED", 2)
    with pytest.raises(ImageSourceError, match=r"6 of 40(.|\n)*\n  and 4 more\n") as caught:
        write(splits(pictures), tmp_path / "sets")
    assert str(caught.value).count(".png: ") == 2
    listed = tmp_path / "sets" / "train" / "unreadable.txt"
    named = [line.partition(": ")[0] for line in listed.read_text().splitlines()]
    assert sorted(named) == sorted(map(str, damaged))
    for path in damaged:
        path.unlink()
    write(splits(pictures), tmp_path / "sets")
    assert not listed.exists()


def test_skipping_leaves_every_other_file_in_its_part(
    pictures: Path, tmp_path: Path, request: pytest.FixtureRequest, caplog: Any
) -> None:
    before = by_grey(write(splits(pictures), tmp_path / "before"))
    damaged = request.getfixturevalue("damaged")
    with caplog.at_level(logging.WARNING, "model_compression"):
        parts = write(splits(pictures, unreadable="skip"), tmp_path / "after")
    gone = {5 * int(path.stem) for path in damaged}
    assert by_grey(parts) == {grey: at for grey, at in before.items() if grey not in gone}
    assert all(str(path) in caplog.text for path in damaged)
    named = []
    for name, part in zip(Splits._fields, parts, strict=True):
        meta = json.loads((tmp_path / "after" / name / "meta.json").read_text())
        assert meta["shape"] == [len(part), 1, 4, 4]
        named += [one["file"] for one in meta.get("unreadable", [])]
        assert len(part.labels) == len(part.images)
    assert sorted(named) == sorted(str(path) for path in damaged)


def test_a_set_without_some_files_has_a_fingerprint_of_its_own_and_is_recognised(
    pictures: Path, damaged: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = splits(pictures, unreadable="skip")
    stored = write(asked, tmp_path)
    assert stored.train.fingerprint != asked.train.fingerprint
    inode = (tmp_path / "train" / "images.npy").stat().st_ino
    again = write(splits(pictures, unreadable="skip"), tmp_path)
    assert again.train.fingerprint == stored.train.fingerprint
    assert (tmp_path / "train" / "images.npy").stat().st_ino == inode
    with pytest.raises(ImageSourceError, match="can't be read"):
        write(splits(pictures, unreadable="refuse"), tmp_path)


def test_a_file_that_becomes_readable_comes_in_though_it_looks_the_same(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As after a chmod: neither its size nor its time has changed.
    real = file_images.read_picture
    locked = sorted((pictures / "a").iterdir())[:8]

    def read(path: Path, *rest: Any) -> Any:
        if path in locked:
            raise file_images.UnreadablePictureError("Permission denied")
        return real(path, *rest)

    monkeypatch.setattr(file_images, "read_picture", read)
    monkeypatch.setattr("model_compression.pictures.read_picture", read)
    asked = splits(pictures, unreadable="skip")
    without = write(asked, tmp_path)
    locked.clear()
    whole = write(asked, tmp_path)
    assert sum(map(len, without)) == 32
    assert sum(map(len, whole)) == 40
    assert whole.train.fingerprint == asked.train.fingerprint


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_unreadable(pictures: Path, tmp_path: Path) -> None:
    (pictures / "b" / "03.png").chmod(0)
    with pytest.raises(ImageSourceError, match=r"b/03\.png: Permission denied"):
        write(splits(pictures), tmp_path / "sets")


def test_a_class_that_nothing_is_left_of_is_an_error(pictures: Path, tmp_path: Path) -> None:
    for path in (pictures / "c").iterdir():
        path.write_bytes(b"")
    with pytest.raises(ImageSourceError, match=r"left in the train images of c:\n.*c/.*empty") as e:
        write(splits(pictures, unreadable="skip"), tmp_path / "sets")
    assert "/a/" not in str(e.value)


def test_many_processes_write_the_same_files(
    pictures: Path, damaged: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "_FILES_AT_A_TIME", 3)
    write_image_set(splits(pictures, unreadable="skip").train, tmp_path / "one")
    monkeypatch.setattr(file_images, "_POOL_PAYS_FROM", 0)
    write_image_set(splits(pictures, unreadable="skip", workers=2).train, tmp_path / "two")
    for name in ("images.npy", "labels.npy", "meta.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_killed_decoding_goes_on_and_gives_the_same_bytes(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = splits(pictures).train
    write_image_set(train, tmp_path / "whole")
    monkeypatch.setattr(storage, "_FILES_AT_A_TIME", 2)
    real = file_images.decode_files
    decoded: list[str] = []

    def decode(folder: str, names: list[str], pixel_format: Any) -> Any:
        decoded.extend(names)
        time.sleep(pause)
        return real(folder, names, pixel_format)

    monkeypatch.setattr(file_images, "decode_files", decode)
    pause = 0.1
    child = os.fork()
    if child == 0:  # pragma: no cover - another process, which doesn't come to its end
        write_image_set(train, tmp_path / "killed")
        os._exit(1)
    journal = tmp_path / "killed" / ".unfinished" / "journal.jsonl"
    deadline = time.monotonic() + 60
    while not journal.exists() or journal.read_bytes().count(b"\n") < 4:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    with pytest.raises(ImageSetError, match="no complete image set"):
        read_image_set(tmp_path / "killed")
    pause = 0
    write_image_set(train, tmp_path / "killed")
    assert 0 < len(decoded) <= len(train) - 6
    for name in ("images.npy", "labels.npy", "meta.json"):
        whole, killed = (tmp_path / folder / name for folder in ("whole", "killed"))
        assert whole.read_bytes() == killed.read_bytes()
    assert not journal.parent.exists()


def test_another_source_does_not_go_on_from_what_a_killed_run_left(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "_FILES_AT_A_TIME", 2)
    train = splits(pictures).train

    class PowerCutError(Exception):
        pass

    def cut(*_: object) -> None:
        raise PowerCutError

    with monkeypatch.context() as patch:
        patch.setattr(storage.PartialSet, "put_in_place", cut)
        with pytest.raises(PowerCutError):
            write_image_set(train, tmp_path / "set")
    os.utime(pictures / "a" / "00.png")
    changed = splits(pictures).train
    counted: list[int] = []
    real = file_images.decode_files

    def decode(folder: str, names: list[str], pixel_format: Any) -> Any:
        counted.append(len(names))
        return real(folder, names, pixel_format)

    monkeypatch.setattr(file_images, "decode_files", decode)
    write_image_set(changed, tmp_path / "set")
    assert sum(counted) == len(changed)


def test_two_processes_that_write_the_same_set_take_turns(pictures: Path, tmp_path: Path) -> None:
    train = splits(pictures).train
    with storage._alone_in(tmp_path):
        child = os.fork()
        if child == 0:  # pragma: no cover - another process
            write_image_set(train, tmp_path)
            os._exit(0)
        time.sleep(0.3)
        assert not (tmp_path / "images.npy").exists()
    assert os.waitpid(child, 0)[1] == 0
    assert greys(read_image_set(tmp_path)) == greys(train)
