import pytest
import torch

from model_compression.models import ModelSettings, build_model


def build(name: str, channels: int = 1, image_size: int = 28, classes: int = 10):
    spec = ModelSettings(name=name).spec((channels, image_size, image_size), classes)
    return build_model(spec)


def test_lenet300_has_the_parameters_that_deep_compression_counts() -> None:
    # 784 -> 300 -> 100 -> 10, each with its biases.
    expected = 785 * 300 + 301 * 100 + 101 * 10
    assert sum(p.numel() for p in build("lenet300").parameters()) == expected == 266_610


def test_lenet5_has_the_parameters_that_deep_compression_counts() -> None:
    # 20 and 50 filters of 5x5, then 800 -> 500 -> 10, each with its biases.
    expected = (25 + 1) * 20 + (20 * 25 + 1) * 50 + 801 * 500 + 501 * 10
    assert sum(p.numel() for p in build("lenet5").parameters()) == expected == 431_080


@pytest.mark.parametrize("name", ["lenet300", "lenet5"])
@pytest.mark.parametrize("image_size", [16, 17, 28, 33])
def test_both_flatten_to_the_right_size_for_any_image(name: str, image_size: int) -> None:
    images = torch.zeros(2, 3, image_size, image_size)
    assert build(name, 3, image_size, 7)(images).shape == (2, 7)


def test_lenet300_sees_images_that_no_convolution_would_fit() -> None:
    assert build("lenet300", 1, 2, 3)(torch.zeros(2, 1, 2, 2)).shape == (2, 3)


def test_an_image_too_small_for_lenet5_is_refused_with_its_size() -> None:
    with pytest.raises(ValueError, match="at least 16x16 pixels, not 15x15"):
        build("lenet5", 1, 15)
