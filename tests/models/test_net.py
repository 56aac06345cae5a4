import pytest
import torch

from model_compression.models import Net


def test_net_has_the_parameters_of_lenet_5() -> None:
    # 6 and 16 filters of 5x5, then 400 -> 120 -> 84 -> 10, each with its biases.
    expected = (25 + 1) * 6 + (6 * 25 + 1) * 16 + 401 * 120 + 121 * 84 + 85 * 10
    assert sum(p.numel() for p in Net(1, 28, 10).parameters()) == expected == 61_706


@pytest.mark.parametrize("image_size", [12, 13, 28, 33])
def test_net_flattens_to_the_right_size_for_any_image(image_size: int) -> None:
    logits = Net(3, image_size, 7)(torch.zeros(2, 3, image_size, image_size))
    assert logits.shape == (2, 7)


def test_an_image_too_small_for_net_is_refused_with_its_size() -> None:
    with pytest.raises(ValueError, match="at least 12x12 pixels, not 11x11"):
        Net(1, 11, 10)
