"""The images that the parameters ask for, split into training, validation and test.

Knows the kinds of sources and hands over to them.
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from model_compression.images.file_images import FileImages
from model_compression.images.folder import FolderSource, load_folder
from model_compression.images.idx import IdxSource, load_idx
from model_compression.images.image_set import ImageArray, ImageSet
from model_compression.images.raw_images import TrainTest
from model_compression.images.splits import stratified_split, stratified_subset
from model_compression.images.torchvision_source import TorchvisionSource, load_torchvision
from model_compression.parameters import Parameters
from model_compression.pictures import PixelFormat

ImageSource = Annotated[IdxSource | TorchvisionSource | FolderSource, Field(discriminator="kind")]
"""Where images come from, chosen by its ``kind:``."""


class DataParameters(Parameters):
    """Which images, how large, and how they are split."""

    source: ImageSource = IdxSource()
    """Where images come from: ``idx``, ``torchvision`` or ``folder``."""
    image_size: int | None = Field(default=None, ge=1)
    """Height and width in pixels; null leaves images as they are; a folder needs a number."""
    channels: Literal[1, 3] | None = None
    """1: grey, 3: RGB; null leaves images as they are (separate picture files become RGB)."""
    validation_fraction: float = Field(default=1 / 12, gt=0, le=0.5)
    """How much of each class of the training images is held out for selecting models."""
    seed: int = 0
    """Decides who is held out and who is within a limit."""
    train_limit: int | None = Field(default=None, ge=1)
    """Use only so many training images, validation included, classes in proportion; null: all."""
    test_limit: int | None = Field(default=None, ge=1)
    """Use only so many test images, classes in proportion; null: all."""

    @property
    def name(self) -> str:
        """What the images are called: their data set's name, or that of the folder they lie in."""
        match self.source:
            case TorchvisionSource(name=name):
                return name
            case IdxSource(folder=folder):
                return Path(folder).name
            case FolderSource(path=path):
                return Path(path).name

    @model_validator(mode="after")
    def _folder_has_a_size(self) -> Self:
        if isinstance(self.source, FolderSource) and self.image_size is None:
            raise ValueError(
                "image_size must be set for images from a folder, for example image_size: 64"
            )
        return self


class Splits(NamedTuple):
    """Three sets without a common image."""

    train: ImageSet
    validation: ImageSet
    test: ImageSet


def load_images(parameters: DataParameters, raw_folder: Path) -> Splits:
    """Finds the images and splits them; labels are known at once, pictures decoded when indexed.

    Args:
        parameters: Which images.
        raw_folder: Where relative paths in the parameters begin.

    Raises:
        ImageSourceError: If the images cannot be had; says why and what to do.
        ValueError: If a class is too small to be split, or a limit too small for the classes.
    """
    train, test = _load_source(parameters, raw_folder)
    train = _limited(train, parameters.train_limit, parameters.seed)
    test = _limited(test, parameters.test_limit, parameters.seed)
    rest, held_out = stratified_split(train.labels, parameters.validation_fraction, parameters.seed)
    return _in_order(Splits(train.subset(rest), train.subset(held_out), test))


def _load_source(parameters: DataParameters, raw_folder: Path) -> TrainTest:
    pixel_format = PixelFormat(parameters.image_size, parameters.channels)
    source = parameters.source
    if isinstance(source, IdxSource):
        return load_idx(source, raw_folder, pixel_format)
    if isinstance(source, TorchvisionSource):
        return load_torchvision(source, raw_folder, pixel_format)
    return load_folder(source, raw_folder, pixel_format, parameters.seed)


def _in_order(splits: Splits) -> Splits:
    """The same sets; each of files knows those that are decoded after it."""
    files = [part.images for part in splits]
    return Splits(
        *(
            replace(part, images=replace(part.images, later=tuple(_files(files[place:]))))
            if isinstance(part.images, FileImages)
            else part
            for place, part in enumerate(splits, start=1)
        )
    )


def _files(images: list[ImageArray]) -> list[FileImages]:
    return [one for one in images if isinstance(one, FileImages)]


def _limited(image_set: ImageSet, limit: int | None, seed: int) -> ImageSet:
    if limit is None or limit >= len(image_set):
        return image_set
    return image_set.subset(stratified_subset(image_set.labels, limit, seed))
