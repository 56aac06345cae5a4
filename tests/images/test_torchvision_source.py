from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from model_compression.images import ImageSourceError, TorchvisionSource
from model_compression.images.raw_images import TrainTest
from model_compression.images.torchvision_source import (
    available_torchvision_datasets,
    load_torchvision,
)
from model_compression.pictures import PixelFormat
from model_compression.torchvision_shim import import_torchvision

AS_IT_IS = PixelFormat(None, None)
Arrays = dict[str, NDArray[np.uint8]]
PackIdx = Callable[[NDArray[np.uint8]], bytes]


def load(
    root: Path, name: str, pixel_format: PixelFormat = AS_IT_IS, *, download: bool = False
) -> TrainTest:
    source = TorchvisionSource(name=name, root=root.name, download=download)
    return load_torchvision(source, root.parent, pixel_format)


@pytest.fixture
def mnist(tmp_path: Path, idx_arrays: Arrays, pack_idx: PackIdx) -> Path:
    """A root with small files where torchvision looks for KMNIST."""
    raw = tmp_path / "torchvision" / "KMNIST" / "raw"
    raw.mkdir(parents=True)
    for name, array in idx_arrays.items():
        (raw / name).write_bytes(pack_idx(array))
    return tmp_path / "torchvision"


@pytest.fixture
def sst2(tmp_path: Path) -> Path:
    """A root with pictures where torchvision looks for RenderedSST2."""
    for part, count in (("train", 4), ("test", 2)):
        for label, name in enumerate(("negative", "positive")):
            folder = tmp_path / "rendered-sst2" / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                grey = 100 * label + number
                Image.new("RGB", (10, 6), (grey,) * 3).save(folder / f"{number}.png")
    return tmp_path


class Custom:
    """A dataset in memory that stands in for a class of torchvision."""

    parts: dict[str, Any]

    def __init__(self, root: str, split: str = "train", *, download: bool = False) -> None:
        if split not in self.parts:
            raise ValueError(f"Unknown value '{split}' for argument split.")
        if isinstance(self.parts[split], Exception):
            raise self.parts[split]
        self.__dict__.update(self.parts[split])

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, position: int) -> Any:
        return self.items[position]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Adds a dataset called Custom to torchvision; its parts are given as attributes."""
    datasets = import_torchvision().datasets

    def add(**parts: Any) -> None:
        monkeypatch.setattr(datasets, "__all__", [*datasets.__all__, "Custom"])
        monkeypatch.setattr(datasets, "Custom", type("Custom", (Custom,), {"parts": parts}), False)

    return add


def items(*labels: Any, size: int = 4) -> list[tuple[Image.Image, Any]]:
    return [(Image.new("RGB", (size, size), (7 * n,) * 3), label) for n, label in enumerate(labels)]


def test_a_dataset_held_as_one_array_is_used_as_it_is(mnist: Path, idx_arrays: Arrays) -> None:
    train, test = load(mnist, "KMNIST")
    np.testing.assert_array_equal(train.images[:][:, 0], idx_arrays["train-images-idx3-ubyte"])
    np.testing.assert_array_equal(train.labels, idx_arrays["train-labels-idx1-ubyte"])
    np.testing.assert_array_equal(test.images[:][:, 0], idx_arrays["t10k-images-idx3-ubyte"])
    assert train.classes == ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
    assert train.fingerprint != test.fingerprint


def test_the_fingerprint_changes_with_pixels_and_format(mnist: Path, pack_idx: PackIdx) -> None:
    before = load(mnist, "KMNIST").test.fingerprint
    assert load(mnist, "KMNIST").test.fingerprint == before
    assert load(mnist, "KMNIST", PixelFormat(8, None)).test.fingerprint != before
    changed = pack_idx(np.zeros((12, 6, 5), dtype=np.uint8))
    (mnist / "KMNIST" / "raw" / "t10k-images-idx3-ubyte").write_bytes(changed)
    assert load(mnist, "KMNIST").test.fingerprint != before


def test_a_dataset_of_files_is_decoded_when_indexed(sst2: Path) -> None:
    train, test = load(sst2, "RenderedSST2")
    assert train.classes == ("negative", "positive")
    assert test.labels.tolist() == [0, 0, 1, 1]
    assert test.image_shape == (3, 6, 10)
    assert test.images[:][:, 0, 0, 0].tolist() == [0, 1, 100, 101]
    assert load(sst2, "RenderedSST2", PixelFormat(8, 1)).train.image_shape == (1, 8, 8)


@pytest.mark.parametrize(
    ("shape", "to_channels_first"),
    [
        ((4, 5, 6, 3), lambda data: data.transpose(0, 3, 1, 2)),
        ((4, 3, 5, 6), lambda data: data),
        ((4, 5, 6), lambda data: data[:, None]),
    ],
)
@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_arrays_of_every_layout_become_channels_first(
    shape: tuple[int, ...],
    to_channels_first: Any,
    kind: Any,
    install: Callable[..., None],
    tmp_path: Path,
) -> None:
    data = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    part = {"data": kind(data), "labels": np.array([0, 1, 2, 0]), "items": range(4)}
    install(train=part, test=part)
    train = load(tmp_path, "Custom").train
    np.testing.assert_array_equal(train.images[:], to_channels_first(data))
    assert train.classes == ("0", "1", "2")


@pytest.mark.parametrize("data", [["a.png"] * 3, np.zeros((3, 2, 2)), np.zeros((3, 8), np.uint8)])
def test_data_that_are_no_image_array_are_left_and_items_decoded(
    data: Any, install: Callable[..., None], tmp_path: Path
) -> None:
    part = {"data": data, "items": items(0, 1, 0)}
    install(train=part, test=part)
    train = load(tmp_path, "Custom").train
    assert train.images[:][:, 0, 0, 0].tolist() == [0, 7, 14]
    assert train.labels.tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    "attributes",
    [
        {"targets": [1, 0]},
        {"labels": torch.tensor([1, 0])},
        {"_labels": (1, 0)},
        {"samples": [("a.png", 1), ("b.png", 0)]},
        {"targets": [[1, 2], [0]], "_samples": [("a.png", 1), ("b.png", 0)]},
        {"targets": torch.tensor([[1, 9], [0, 9]])},
        {"targets": [1, 0, 0]},
        {},
    ],
)
def test_labels_are_found_wherever_they_are_kept(
    attributes: dict[str, Any], install: Callable[..., None], tmp_path: Path
) -> None:
    part = {"items": items(1, 0), "classes": ["a", ("b", "c")]} | attributes
    install(trainval=part, val=part)
    train, test = load(tmp_path, "Custom")
    assert train.labels.tolist() == test.labels.tolist() == [1, 0]
    assert train.classes == ("a", "b, c")


def test_pictures_of_different_sizes_need_a_size(
    install: Callable[..., None], tmp_path: Path
) -> None:
    part = {"items": items(0) + items(1, size=5)}
    install(train=part, test=part)
    with pytest.raises(ImageSourceError, match="set image_size"):
        load(tmp_path, "Custom").train.images[:]
    assert load(tmp_path, "Custom", PixelFormat(4, None)).train.images[:].shape == (2, 3, 4, 4)


def test_targets_that_are_no_labels_are_refused(
    install: Callable[..., None], tmp_path: Path
) -> None:
    part = {"items": items({"boxes": []}, {"boxes": []})}
    install(train=part, test=part)
    with pytest.raises(ImageSourceError, match="Custom is no classification dataset"):
        load(tmp_path, "Custom")


def test_labels_that_name_no_class_are_refused(
    install: Callable[..., None], tmp_path: Path
) -> None:
    part = {"items": items(0, 5), "classes": ["a", "b"]}
    install(train=part, test=part)
    with pytest.raises(ImageSourceError, match="Custom cannot be used: Labels must be"):
        load(tmp_path, "Custom")


def test_a_dataset_without_a_test_part_is_refused(
    install: Callable[..., None], tmp_path: Path
) -> None:
    install(train={"items": items(0)})
    with pytest.raises(ImageSourceError, match="Custom has no split test or val"):
        load(tmp_path, "Custom")


def test_another_value_error_of_torchvision_is_passed_on(
    install: Callable[..., None], tmp_path: Path
) -> None:
    install(train=ValueError("bad matrix"))
    with pytest.raises(ValueError, match="bad matrix"):
        load(tmp_path, "Custom")


def test_an_unknown_name_is_refused_with_the_close_and_the_available_ones(tmp_path: Path) -> None:
    with pytest.raises(ImageSourceError, match=r"'cifar_10'.*mean CIFAR10.*Available: .*SVHN"):
        load(tmp_path, "cifar_10")
    with pytest.raises(ImageSourceError, match=r"used here\. Available"):
        load(tmp_path, "xyzzy")


def test_classification_datasets_are_available_and_others_not() -> None:
    available = available_torchvision_datasets()
    assert {"CIFAR10", "CIFAR100", "SVHN", "GTSRB", "Food101", "FashionMNIST"} <= set(available)
    assert not {"CelebA", "VOCDetection", "Kinetics", "ImageFolder", "FakeData"} & set(available)


def test_without_download_a_missing_dataset_is_an_error_that_says_where_it_was_looked_for(
    tmp_path: Path,
) -> None:
    with pytest.raises(ImageSourceError) as caught:
        load(tmp_path / "empty", "CIFAR10")
    assert str(tmp_path / "empty") in str(caught.value)
    assert "data.source.download" in str(caught.value)


def test_without_internet_a_missing_dataset_is_an_error_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(self: Any) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(import_torchvision().datasets.CIFAR10, "download", offline)
    with pytest.raises(ImageSourceError, match=r"could not be downloaded.*no route.*connection"):
        load(tmp_path / "empty", "CIFAR10", download=True)


def test_what_is_not_on_disk_is_downloaded_and_what_is_is_not(
    tmp_path: Path, mnist: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    downloads = []
    files = {path.name: path.read_bytes() for path in (mnist / "KMNIST" / "raw").iterdir()}

    def download(self: Any) -> None:
        raw = Path(self.raw_folder)
        raw.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (raw / name).write_bytes(content)
        downloads.append(raw)

    monkeypatch.setattr(import_torchvision().datasets.KMNIST, "download", download)
    assert len(load(mnist, "KMNIST", download=True).train) == 40
    assert downloads == []
    assert len(load(tmp_path / "new", "KMNIST", download=True).train) == 40
    assert downloads == [tmp_path / "new" / "KMNIST" / "raw"]
