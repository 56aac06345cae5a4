import hypothesis
import numpy as np
import pytest
import torch

from model_compression.images import ImageSet, Normalization

torch.set_num_threads(1)
# How long an example takes says more of the machine's other work than of the code.
hypothesis.settings.register_profile("shared_machine", deadline=None)
hypothesis.settings.load_profile("shared_machine")


@pytest.fixture
def tiny_images() -> ImageSet:
    """96 noisy 12x12 images of three classes that a small network learns in a few epochs."""
    generator = np.random.default_rng(0)
    labels = np.arange(96, dtype=np.int64) % 3
    images = generator.integers(0, 120, (96, 1, 12, 12), dtype=np.uint8)
    for row, label in enumerate(labels):
        images[row, :, 4 * label : 4 * label + 4] += 120
    return ImageSet(images, labels, ("top", "middle", "bottom"), "tiny")


@pytest.fixture
def tiny_normalization() -> Normalization:
    return Normalization(mean=(0.4,), std=(0.25,))
