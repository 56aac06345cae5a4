"""From raw images to three sets of decoded ones, and what they are normalised with."""

from pathlib import Path

from model_compression.images import (
    DataParameters,
    ImageSet,
    Normalization,
    compute_normalization,
    load_images,
)


def read_images(
    raw_folder: Path, parameters: DataParameters
) -> tuple[ImageSet, ImageSet, ImageSet]:
    """Reads the source and splits it into training, validation and test images.

    Decoding happens when a set is saved, and not at all where the very same set is already there.
    """
    return load_images(parameters, raw_folder)


def normalize(train_images: ImageSet) -> Normalization:
    """Mean and standard deviation of every channel of the training images alone."""
    return compute_normalization(train_images)
