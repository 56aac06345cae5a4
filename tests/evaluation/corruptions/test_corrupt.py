"""What holds of all fifteen corruptions."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import interpolate

from model_compression.evaluation import CORRUPTIONS, SEVERITIES, corrupt

NAMES = list(CORRUPTIONS)


def scenes(count: int, channels: int, height: int, width: int) -> Tensor:
    """Smooth shapes of several sizes, as pictures have them; the same at every call."""
    generator = torch.Generator().manual_seed(height * width)
    layers = torch.zeros(count, channels, height, width)
    for octave in range(1, 6):
        coarse = torch.rand(
            count, channels, max(1, height >> octave), max(1, width >> octave), generator=generator
        )
        layers += 0.7**-octave * interpolate(coarse, size=(height, width), mode="bilinear")
    low, high = layers.amin((1, 2, 3), keepdim=True), layers.amax((1, 2, 3), keepdim=True)
    return ((layers - low) / (high - low) * 255).to(torch.uint8)


def distance(corrupted: Tensor, clean: Tensor) -> float:
    """Root mean square of the change, in grey levels."""
    return float((corrupted.float() - clean.float()).square().mean().sqrt())


def unlikeness(corrupted: Tensor, clean: Tensor) -> float:
    """One minus the correlation, which brightness and contrast alone do not change."""
    pair = torch.stack([corrupted.flatten(1), clean.flatten(1)]).float()
    pair = pair - pair.mean(2, keepdim=True)
    return float(1 - torch.cosine_similarity(*pair, dim=1).mean())


def levels(name: str, clean: Tensor) -> list[Tensor]:
    indices = torch.arange(len(clean))
    return [corrupt(clean, indices, name, severity) for severity in SEVERITIES]


def test_they_are_the_fifteen_of_the_paper():
    families = list(CORRUPTIONS.values())
    assert {family: families.count(family) for family in families} == {
        "noise": 3,
        "blur": 4,
        "weather": 4,
        "digital": 4,
    }


@settings(max_examples=60)
@given(
    name=st.sampled_from(NAMES),
    severity=st.sampled_from(SEVERITIES),
    count=st.integers(1, 3),
    channels=st.sampled_from([1, 3]),
    height=st.integers(8, 24),
    width=st.integers(8, 24),
    brightness=st.sampled_from([0, 1, 255]),
)
def test_shape_and_bytes_are_kept_and_the_input_is_left_alone(
    name, severity, count, channels, height, width, brightness
):
    images = scenes(count, channels, height, width).clamp_max(brightness)
    before = images.clone()
    corrupted = corrupt(images, torch.arange(count), name, severity)
    assert corrupted.dtype == torch.uint8
    assert corrupted.shape == images.shape
    assert torch.equal(images, before)


@settings(max_examples=60)
@given(
    name=st.sampled_from(NAMES),
    severity=st.sampled_from(SEVERITIES),
    order=st.permutations(range(4)),
    channels=st.sampled_from([1, 3]),
    seed=st.integers(0, 2**63),
)
def test_an_image_is_corrupted_the_same_in_any_batch(name, severity, order, channels, seed):
    images, indices = scenes(4, channels, 10, 13), torch.tensor([7, 0, 10**6, 3])
    together = corrupt(images, indices, name, severity, seed)
    shuffled = corrupt(images[order], indices[order], name, severity, seed)
    assert torch.equal(shuffled, together[order])
    alone = corrupt(images[2:3], indices[2:3], name, severity, seed)
    # Matrix products of other shapes may round otherwise, at most to the next byte.
    assert (alone[0].int() - together[2].int()).abs().max() <= 1


RANDOM = ["gaussian_noise", "shot_noise", "impulse_noise", "glass_blur", "motion_blur", "snow"]
RANDOM += ["frost", "fog", "elastic_transform"]


@pytest.mark.parametrize("name", RANDOM)
def test_another_seed_or_index_draws_anew_and_the_global_generator_is_left_alone(name):
    images = scenes(1, 1, 24, 24).expand(2, -1, -1, -1)
    torch.manual_seed(0)
    first, second = corrupt(images, torch.tensor([0, 1]), name, 5)
    drawn = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(torch.rand(1), drawn)
    assert not torch.equal(first, second)
    other = corrupt(images, torch.tensor([0, 1]), name, 5, seed=1)
    assert not torch.equal(first, other[0])


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(RANDOM)))
def test_what_has_no_chance_in_it_treats_equal_images_equally(name):
    images = scenes(1, 3, 24, 24).expand(2, -1, -1, -1)
    first, second = corrupt(images, torch.tensor([0, 1]), name, 5)
    assert torch.equal(first, second)


@pytest.mark.parametrize(
    ("channels", "side", "count"), [(1, 28, 24), (3, 32, 16), (3, 64, 4), (3, 224, 1)]
)
@pytest.mark.parametrize("name", NAMES)
def test_a_higher_severity_is_farther_from_the_clean_image(name, channels, side, count):
    clean = scenes(count, channels, side, side)
    # Frost and fog also darken what they cover: that would hide how much is covered.
    measure = unlikeness if name in {"frost", "fog"} else distance
    far = [measure(corrupted, clean) for corrupted in levels(name, clean)]
    assert far[0] > 0
    assert far[4] > 1.15 * far[0]
    # CIFAR-10-C's motion blur has the same constants at 3 and 4.
    for milder, harder in pairwise(far):
        assert harder >= 0.95 * milder


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"gaussian_noise", "impulse_noise"}))
def test_a_black_image_gets_no_structure_from_what_only_moves_or_scales_light(name):
    black = torch.zeros(2, 1, 16, 16, dtype=torch.uint8)
    corrupted = corrupt(black, torch.arange(2), name, 5)
    if name in {"snow", "frost"}:
        assert corrupted.float().std() > 0
    elif name == "brightness":
        assert (corrupted == corrupted[0, 0, 0, 0]).all()
        assert abs(int(corrupted[0, 0, 0, 0]) - 0.3 * 255) <= 0.5
    else:  # JPEG's black is 1 at this quality
        assert (corrupted <= (name == "jpeg_compression")).all()


def test_no_images_are_corrupted_to_no_images():
    nothing = torch.zeros(0, 3, 9, 9, dtype=torch.uint8)
    for name in NAMES:
        assert corrupt(nothing, torch.arange(0), name, 1).shape == nothing.shape


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": torch.zeros(2, 1, 8, 8)}, r"uint8 images.*torch\.float32"),
        ({"images": torch.zeros(2, 8, 8, dtype=torch.uint8)}, r"shape \(2, 8, 8\)"),
        ({"indices": torch.arange(3)}, r"shape \(2,\); got.*\(3,\)"),
        ({"indices": torch.zeros(2)}, r"int64 index.*float32"),
        ({"corruption": "gausian_noise"}, "gaussian_noise.*'gausian_noise'"),
        ({"severity": 0}, "from 1 to 5; got 0"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    arguments = {
        "images": torch.zeros(2, 1, 8, 8, dtype=torch.uint8),
        "indices": torch.arange(2),
        "corruption": "fog",
        "severity": 1,
    }
    with pytest.raises(ValueError, match=message):
        corrupt(**(arguments | change))
