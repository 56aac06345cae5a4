"""Images from any classification dataset of ``torchvision.datasets``.

Knows how torchvision's datasets are constructed and read; nothing of what they contain.
"""

import difflib
import inspect
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from model_compression.fingerprint import fingerprint
from model_compression.images.decoding import LazyImages, reformat
from model_compression.images.image_set import ImageArray, ImageSet, ImageSetError, array_digest
from model_compression.images.raw_images import ImageSourceError, TrainTest, resolve
from model_compression.parameters import Parameters
from model_compression.pictures import PixelFormat, fit_image
from model_compression.torchvision_shim import import_torchvision

# These are constructed like the classification datasets but give boxes, pairs or videos.
_OTHER_TASKS = frozenset(
    (
        "CelebA",
        "Kinetics",
        "Kitti",
        "LFWPairs",
        "Middlebury2014Stereo",
        "MovingMNIST",
        "PhotoTour",
        "WIDERFace",
    )
)
_TRAIN_SPLITS = ("train", "trainval")
_TEST_SPLITS = ("test", "val")


class TorchvisionSource(Parameters):
    """A dataset of torchvision by its class name."""

    kind: Literal["torchvision"] = "torchvision"
    name: str
    """For example CIFAR10, SVHN, GTSRB, Food101."""
    root: str = "torchvision"
    """Where its files are or are downloaded to."""
    download: bool = True
    """Whether files that are not there are downloaded."""


def load_torchvision(
    source: TorchvisionSource, raw_folder: Path, pixel_format: PixelFormat
) -> TrainTest:
    """Opens a dataset's training and test part, and downloads them if they are not on disk.

    Its train split (or trainval) is the training part and its test split (or val, where the test
    split is not offered) the test part. Datasets that are held as one array are used as they are,
    others decoded when indexed.

    Raises:
        ImageSourceError: If torchvision has no such classification dataset, or it is neither on
            disk nor can be downloaded.
    """
    dataset_class = _find_class(source.name)
    root = resolve(source.root, raw_folder)
    if "train" in inspect.signature(dataset_class).parameters:
        train = _open(dataset_class, root, "train", (True,), download=source.download)
        test = _open(dataset_class, root, "train", (False,), download=source.download)
    else:
        train = _open(dataset_class, root, "split", _TRAIN_SPLITS, download=source.download)
        test = _open(dataset_class, root, "split", _TEST_SPLITS, download=source.download)
    labels = [_labels(dataset) for dataset in (train, test)]
    classes = _class_names(train, max(int(part.max()) for part in labels))
    return TrainTest(
        *(
            _to_image_set(dataset, part, classes, pixel_format, source.name)
            for dataset, part in zip((train, test), labels, strict=True)
        )
    )


def available_torchvision_datasets() -> list[str]:
    """The names that `load_torchvision` takes with the installed torchvision."""
    datasets = import_torchvision().datasets
    return sorted(
        name
        for name in datasets.__all__
        if name not in _OTHER_TASKS and _is_constructible(getattr(datasets, name))
    )


def _is_constructible(candidate: Any) -> bool:
    if not inspect.isclass(candidate):
        return False
    parameters = inspect.signature(candidate).parameters.keys()
    return {"root", "download"} <= parameters and bool({"train", "split"} & parameters)


def _find_class(name: str) -> Any:
    available = available_torchvision_datasets()
    if name in available:
        return getattr(import_torchvision().datasets, name)
    by_lower_case = {known.lower(): known for known in available}
    close = difflib.get_close_matches(name.lower(), by_lower_case)
    hint = f" Did you mean {' or '.join(by_lower_case[match] for match in close)}?" if close else ""
    raise ImageSourceError(
        f"torchvision has no image classification dataset {name!r} that can be used here.{hint} "
        f"Available: {', '.join(available)}."
    )


def _open(
    dataset_class: Any, root: Path, argument: str, values: Sequence[Any], *, download: bool
) -> Any:
    for value in values:
        try:
            return _construct(dataset_class, root, {argument: value}, download=download)
        except ValueError as error:
            if isinstance(error, ImageSourceError) or f"argument {argument}" not in str(error):
                raise
    raise ImageSourceError(
        f"torchvision's {dataset_class.__name__} has no {argument} "
        f"{' or '.join(map(str, values))}; choose another dataset."
    )


def _construct(dataset_class: Any, root: Path, part: dict[str, Any], *, download: bool) -> Any:
    name = dataset_class.__name__
    try:
        return dataset_class(root=str(root), download=False, **part)
    except (RuntimeError, OSError) as error:
        missing = error
    if not download:
        raise ImageSourceError(
            f"torchvision's {name} was not found in {root} ({missing}). "
            "Put its files there, or set data.source.download to true."
        ) from missing
    try:
        return dataset_class(root=str(root), download=True, **part)
    except (RuntimeError, OSError) as error:
        raise ImageSourceError(
            f"torchvision's {name} was not found in {root} and could not be downloaded: {error}. "
            "Check the internet connection, or put its files there yourself."
        ) from error


def _to_image_set(
    dataset: Any,
    labels: NDArray[np.int64],
    classes: tuple[str, ...],
    pixel_format: PixelFormat,
    name: str,
) -> ImageSet:
    images: ImageArray
    array = _array(dataset)
    if array is not None:
        images, content = reformat(array, pixel_format), array_digest(array)
    else:
        # Its files were checked by torchvision and never change: name and labels identify them.
        images, content = _lazy(dataset, pixel_format), "decoded"
    identity = fingerprint(name, content, array_digest(labels), classes, pixel_format)
    try:
        return ImageSet(images, labels, classes, identity)
    except ImageSetError as error:
        raise ImageSourceError(f"torchvision's {name} cannot be used: {error}") from error


def _array(dataset: Any) -> NDArray[np.uint8] | None:
    """All images as one array (N, C, H, W), if the dataset holds them as one."""
    data = getattr(dataset, "data", None)
    if not isinstance(data, (np.ndarray, torch.Tensor)) or len(data) != len(dataset):
        return None
    array: NDArray[Any] = np.asarray(data)
    if array.dtype != np.uint8:
        return None
    if array.ndim == 3:
        return array[:, None]
    if array.ndim == 4 and array.shape[-1] in (1, 3):
        return array.transpose(0, 3, 1, 2)
    return array if array.ndim == 4 and array.shape[1] in (1, 3) else None


def _lazy(dataset: Any, pixel_format: PixelFormat) -> LazyImages:
    def decode(position: int) -> NDArray[np.uint8]:
        return fit_image(dataset[position][0], pixel_format)

    channels, height, width = decode(0).shape
    return LazyImages(decode, (len(dataset), channels, height, width))


def _labels(dataset: Any) -> NDArray[np.int64]:
    """The labels, without decoding images where they are kept in one of the usual places."""
    for name in ("targets", "labels", "_labels"):
        labels = _as_labels(getattr(dataset, name, None), len(dataset))
        if labels is not None:
            return labels
    for name in ("samples", "_samples"):
        samples = getattr(dataset, name, None) or ()
        labels = _as_labels([sample[-1] for sample in samples], len(dataset))
        if labels is not None:
            return labels
    labels = _as_labels([dataset[position][1] for position in range(len(dataset))], len(dataset))
    if labels is None:
        raise ImageSourceError(
            f"torchvision's {type(dataset).__name__} is no classification dataset: "
            "its targets are not one whole number per image."
        )
    return labels


def _as_labels(values: Any, count: int) -> NDArray[np.int64] | None:
    try:
        labels = np.asarray(values)
    except (TypeError, ValueError):
        return None
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
        return None
    return labels.astype(np.int64)


def _class_names(dataset: Any, highest_label: int) -> tuple[str, ...]:
    names: Iterable[Any] = getattr(dataset, "classes", None) or range(highest_label + 1)
    return tuple(", ".join(name) if isinstance(name, tuple) else str(name) for name in names)
