from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model_compression.images import AugmentationParameters, augment

NOTHING = AugmentationParameters(horizontal_flip=0, crop_padding=0, cutout=0)
SETTINGS = st.builds(
    AugmentationParameters,
    horizontal_flip=st.sampled_from([0.0, 0.5, 1.0]),
    crop_padding=st.integers(0, 3),
    cutout=st.integers(0, 4),
)


def pictures(count: int, channels: int = 1, height: int = 6, width: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    shape = (count, channels, height, width)
    return torch.randint(1, 256, shape, dtype=torch.uint8, generator=generator)


def view(images: Tensor, parameters: AugmentationParameters, **changes: Any) -> Tensor:
    arguments = {"indices": torch.arange(len(images)), "seed": 3, "epoch": 2} | changes
    return augment(images, parameters=parameters, **arguments)


@settings(max_examples=50)
@given(parameters=SETTINGS, order=st.permutations(range(7)), seed=st.integers(0, 2**63))
def test_a_view_does_not_depend_on_the_batch(
    parameters: AugmentationParameters, order: list[int], seed: int
) -> None:
    images = pictures(7, channels=3)
    together = view(images, parameters, seed=seed)
    shuffled = view(images[order], parameters, indices=torch.tensor(order), seed=seed)
    assert torch.equal(shuffled, together[order])
    alone = view(images[4:5], parameters, indices=torch.tensor([4]), seed=seed)
    assert torch.equal(alone[0], together[4])


def test_global_random_state_is_neither_used_nor_changed() -> None:
    images = pictures(20)
    torch.manual_seed(1)
    first = view(images, AugmentationParameters())
    drawn = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), drawn)
    assert torch.equal(view(images, AugmentationParameters()), first)


@pytest.mark.parametrize("change", [{"seed": 4}, {"epoch": 3}, {"indices": torch.arange(9, 49)}])
def test_another_seed_epoch_or_index_gives_another_view(change: dict[str, Any]) -> None:
    images = pictures(40)
    parameters = AugmentationParameters(cutout=2)
    assert not torch.equal(view(images, parameters), view(images, parameters, **change))


def test_with_everything_off_images_stay_and_are_not_shared() -> None:
    images = pictures(5)
    unchanged = view(images, NOTHING)
    assert torch.equal(unchanged, images)
    assert unchanged.data_ptr() != images.data_ptr()


@given(parameters=SETTINGS)
def test_the_input_is_left_alone(parameters: AugmentationParameters) -> None:
    images = pictures(4)
    before = images.clone()
    view(images, parameters)
    assert torch.equal(images, before)


def test_a_certain_flip_mirrors_left_to_right() -> None:
    images = pictures(5, channels=3)
    flipped = view(images, NOTHING.model_copy(update={"horizontal_flip": 1.0}))
    assert torch.equal(flipped, images.flip(-1))


def test_flips_happen_as_often_as_asked() -> None:
    images = pictures(1).expand(4000, -1, -1, -1)
    views = view(images, NOTHING.model_copy(update={"horizontal_flip": 0.3}))
    flipped = (views == images.flip(-1)).flatten(1).all(1).float().mean().item()
    # The standard deviation of the share is 0.007.
    assert abs(flipped - 0.3) < 0.035


def reference_crop(image: np.ndarray, padding: int, top: int, left: int) -> np.ndarray:
    padded = np.pad(image, ((0, 0), (padding, padding), (padding, padding)))
    return padded[:, top : top + image.shape[1], left : left + image.shape[2]]


def test_every_crop_is_a_window_of_the_padded_image_and_all_occur_evenly() -> None:
    images = pictures(1, channels=2).expand(5000, -1, -1, -1)
    views = view(images, NOTHING.model_copy(update={"crop_padding": 2})).numpy()
    counts = [
        (views == reference_crop(images[0].numpy(), 2, top, left)).all((1, 2, 3)).sum()
        for top in range(5)
        for left in range(5)
    ]
    assert sum(counts) == 5000
    # 200 each are expected, with a standard deviation below 14.
    assert min(counts) > 130
    assert max(counts) < 270


def test_flip_and_crop_together_are_the_crop_of_the_image_or_its_mirror() -> None:
    images = pictures(30)
    views = view(images, AugmentationParameters(crop_padding=1))
    for before, after in zip(images.numpy(), views.numpy(), strict=True):
        windows = [
            reference_crop(picture, 1, top, left)
            for picture in (before, before[:, :, ::-1])
            for top in range(3)
            for left in range(3)
        ]
        assert any(np.array_equal(after, window) for window in windows)


def test_cutout_blanks_a_square_that_the_border_may_clip_in_all_channels() -> None:
    images = pictures(300, channels=3, height=8, width=9)
    views = view(images, NOTHING.model_copy(update={"cutout": 3}))
    blank = views == 0
    sizes = set()
    for mask, before, after in zip(blank, images, views, strict=True):
        assert torch.equal(mask[0], mask[1])
        assert torch.equal(mask[0], mask[2])
        assert torch.equal(after[~mask], before[~mask])
        rows, columns = mask[0].any(1).sum().item(), mask[0].any(0).sum().item()
        assert mask[0].sum().item() == rows * columns
        sizes |= {rows, columns}
    assert sizes == {2, 3}
    assert blank.any(0).all()


def test_cutout_of_an_even_side_has_that_side() -> None:
    views = view(pictures(200, height=20, width=20), NOTHING.model_copy(update={"cutout": 4}))
    areas = (views == 0).flatten(1).sum(1)
    assert areas.max().item() == 16
    assert (areas == 16).float().mean() > 0.5


def test_empty_pixels_get_the_fill_of_their_channel() -> None:
    images = torch.zeros(50, 3, 6, 6, dtype=torch.uint8)
    fill = torch.tensor([10, 20, 30], dtype=torch.uint8)
    views = view(images, AugmentationParameters(cutout=2), fill=fill)
    for channel, value in enumerate((10, 20, 30)):
        assert views[:, channel].unique().tolist() == [0, value]
    assert 7 in view(images, AugmentationParameters(), fill=7)


def test_channels_last_images_give_the_same_views() -> None:
    images = pictures(10, channels=3)
    parameters = AugmentationParameters(cutout=2)
    rearranged = images.contiguous(memory_format=torch.channels_last)
    assert torch.equal(view(rearranged, parameters), view(images, parameters))


@pytest.mark.parametrize(
    ("images", "indices", "message"),
    [
        (torch.zeros(2, 1, 6, 6), torch.arange(2), "uint8.*got torch.float32"),
        (torch.zeros(1, 6, 6, dtype=torch.uint8), torch.arange(1), r"shape \(1, 6, 6\)"),
        (pictures(2), torch.arange(3), r"shape \(2,\); got torch.int64 of shape \(3,\)"),
        (pictures(2), torch.arange(2).int(), "int64.*got torch.int32"),
    ],
)
def test_other_input_is_refused(images: Tensor, indices: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        view(images, AugmentationParameters(), indices=indices)


@pytest.mark.parametrize("setting", ["crop_padding", "cutout"])
def test_a_setting_that_could_blank_the_whole_image_is_refused(setting: str) -> None:
    parameters = NOTHING.model_copy(update={setting: 5})
    with pytest.raises(ValueError, match=f"{setting} of 5 pixels.*6 x 5; set it below 5"):
        view(pictures(2), parameters)
