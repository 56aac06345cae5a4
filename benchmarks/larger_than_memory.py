"""Memory and speed of a set of images that is larger than the memory it may take.

Makes pictures in a folder (or takes them), prepares them as `kedro run --pipeline=data_preparation`
does, goes through all that touches every image, and says of each step how long it took and how
much memory it had at most, of its own and of files that were mapped, and what it read from disk.

    python benchmarks/larger_than_memory.py --images 60000 --size 128 --limit 1024
"""

import argparse
import io
import os
import resource
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import torch
from PIL import Image

from model_compression.images import (
    Batches,
    DataParameters,
    ImageSet,
    Normalization,
    compute_normalization,
    contact_sheet,
    load_images,
    read_image_set,
    write_image_set,
)

MIB = 2**20
CLASSES = 10
DIFFERENT = 400
BATCH = 128
SOME = 50


def make_pictures(folder: Path, count: int) -> None:
    """JPEGs of 200 x 160 pixels in ten classes; there are 400 different ones."""
    generator = np.random.default_rng(0)
    contents = []
    for _ in range(DIFFERENT):
        buffer = io.BytesIO()
        colours = generator.integers(0, 256, (8, 10, 3), dtype=np.uint8)
        picture = Image.fromarray(colours).resize((200, 160), Image.Resampling.BICUBIC)
        picture.save(buffer, "JPEG", quality=85)
        contents.append(buffer.getvalue())
    for label in range(CLASSES):
        (folder / f"class{label}").mkdir(parents=True)
    for number in range(count):
        path = folder / f"class{number % CLASSES}" / f"{number:07}.jpg"
        path.write_bytes(contents[number * 7 % DIFFERENT])


class Memory:
    """What this process has at most, looked at every 20 ms while a step runs."""

    def __init__(self) -> None:
        self.own = self.files = self.workers = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        process = psutil.Process()
        while not self._over.is_set():
            status = Path("/proc/self/status").read_text()
            found = dict(line.split(":") for line in status.splitlines() if line.startswith("Rss"))
            own, files = (int(found[key].split()[0]) * 1024 for key in ("RssAnon", "RssFile"))
            self.own, self.files = max(self.own, own), max(self.files, files)
            workers = 0
            for child in process.children(recursive=True):
                try:
                    workers += child.memory_full_info().uss
                except psutil.Error:
                    continue
            self.workers = max(self.workers, workers)
            self._over.wait(0.02)


@contextmanager
def step(name: str, images: int) -> Iterator[None]:
    """Prints a line of the table."""
    began, read = time.perf_counter(), psutil.Process().io_counters().read_bytes
    with Memory() as memory:
        yield
    read = psutil.Process().io_counters().read_bytes - read
    seconds = time.perf_counter() - began
    print(
        f"| {name} | {seconds:.1f} | {images / seconds:,.0f} | {memory.own / MIB:.0f} | "
        f"{memory.files / MIB:.0f} | {memory.workers / MIB:.0f} | {read / MIB:.0f} |",
        flush=True,
    )


def drop_from_cache(path: Path) -> None:
    """Asks the system to forget a file's pages, as it does when others need the memory."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def feed(images: ImageSet, normalization: Normalization, batches: int) -> None:
    """Some shuffled batches."""
    fed = Batches(images, normalization, batch_size=BATCH, device="cpu", shuffle=True).epoch(0)
    for _, _ in zip(range(batches), fed, strict=False):
        pass


def measure(pictures: Path, work: Path, size: int, workers: int | None) -> None:
    """Goes through all that touches every image."""
    source = {"kind": "folder", "path": str(pictures), "workers": workers}
    parameters = DataParameters.model_validate({"source": source, "image_size": size})
    print("| step | seconds | images/s | own MiB | mapped MiB | workers' MiB | read MiB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    with step("list and split", len(load_images(parameters, work).train)):
        splits = load_images(parameters, work)
    for name, part in zip(splits._fields, splits, strict=True):
        with step(f"decode {name}", len(part)):
            write_image_set(part, work / name)
    train = read_image_set(work / "train")
    with step("recognise that it is there", len(train)):
        write_image_set(splits.train, work / "train")
    with step("normalise", len(train)):
        normalization = compute_normalization(train)
    with step("contact sheet", 100):
        contact_sheet(train)
    batches = len(train) // BATCH
    with step("a shuffled epoch of batches", batches * BATCH):
        feed(train, normalization, batches)
    some = min(SOME, batches)
    path = work / "train" / "images.npy"
    mapped = ImageSet(np.load(path, mmap_mode="r"), train.labels, train.classes, "mapped")
    for name, images in (("as they are read", train), ("through a memory map", mapped)):
        drop_from_cache(path)
        with step(f"{some} shuffled batches, none cached, {name}", some * BATCH):
            feed(images, normalization, some)
    print(f"\nimages.npy of train: {(work / 'train/images.npy').stat().st_size / MIB:.0f} MiB")


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--pictures", type=Path, help="a folder of pictures; else they are made")
    parser.add_argument("--work", type=Path, help="where all is put and stays; else it is removed")
    parser.add_argument("--limit", type=int, help="MiB of memory of its own that it may take")
    arguments = parser.parse_args()
    if arguments.limit:
        limit = arguments.limit * MIB
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    torch.set_num_threads(1)
    work = arguments.work or Path(tempfile.mkdtemp(prefix="larger-than-memory-"))
    try:
        pictures = arguments.pictures
        if pictures is None:
            pictures = work / "pictures"
            make_pictures(pictures, arguments.images)
        measure(pictures.resolve(), work, arguments.size, arguments.workers)
    finally:
        if arguments.work is None:
            shutil.rmtree(work)


if __name__ == "__main__":
    main()
