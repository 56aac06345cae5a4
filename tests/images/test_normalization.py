from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import ValidationError

from model_compression.images import ImageSet, Normalization, compute_normalization, normalization

MakeImageSet = Callable[..., ImageSet]


def set_of(images: Any) -> ImageSet:
    return ImageSet(images, np.zeros(len(images), dtype=np.int64), ("a",), "f")


@given(
    images=hnp.arrays(
        np.uint8, st.tuples(st.integers(1, 5), st.integers(1, 3), st.just(3), st.just(2))
    )
)
def test_the_constants_are_numpys(images: Any) -> None:
    computed = compute_normalization(set_of(images))
    scaled = images.astype(np.float64) / 255
    std = scaled.std(axis=(0, 2, 3))
    np.testing.assert_allclose(computed.mean, scaled.mean(axis=(0, 2, 3)), atol=1e-12)
    np.testing.assert_allclose(computed.std, np.where(std < 1e-12, 1, std), rtol=1e-9)


def test_a_constant_channel_gets_the_standard_deviation_1() -> None:
    images = np.full((3, 2, 2, 2), 200, dtype=np.uint8)
    images[0, 1] = 0
    computed = compute_normalization(set_of(images))
    assert computed.std[0] == 1.0
    assert 0 < computed.std[1] < 1
    assert computed.mean[0] == 200 / 255


def test_the_size_of_a_chunk_plays_no_role(
    make_image_set: MakeImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    image_set = make_image_set(50, (3, 4, 4))
    whole = compute_normalization(image_set)
    monkeypatch.setattr(normalization, "_CHUNK_BYTES", 7 * 48)
    assert compute_normalization(image_set) == whole


def test_normalised_images_have_mean_0_and_deviation_1(make_image_set: MakeImageSet) -> None:
    image_set = make_image_set(40, (3, 5, 5))
    normalised = compute_normalization(image_set).apply(torch.from_numpy(image_set.images[:]))
    assert normalised.dtype == torch.float32
    assert normalised.mean((0, 2, 3)).abs().max() < 1e-5
    assert (normalised.std((0, 2, 3), correction=0) - 1).abs().max() < 1e-5


@given(mean=st.floats(0, 1), std=st.floats(0.01, 2), value=st.integers(0, 255))
def test_a_byte_becomes_what_the_formula_says(mean: float, std: float, value: int) -> None:
    images = torch.full((1, 1, 1, 1), value, dtype=torch.uint8)
    normalised = Normalization(mean=(mean,), std=(std,)).apply(images)
    assert normalised.item() == pytest.approx((value / 255 - mean) / std, rel=1e-5, abs=1e-4)


def test_the_memory_format_stays_and_the_input_too() -> None:
    images = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8)
    images = images.contiguous(memory_format=torch.channels_last)
    before = images.clone()
    normalised = Normalization(mean=(0.5,) * 3, std=(0.2,) * 3).apply(images)
    assert normalised.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(images, before)


def test_the_constants_survive_json() -> None:
    constants = Normalization(mean=(0.1, 1 / 3), std=(0.2, 0.7))
    assert Normalization.model_validate_json(constants.model_dump_json()) == constants


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mean": (0.5,), "std": (1.0, 1.0)}, "got 1 and 2 values"),
        ({"mean": (0.5,), "std": (0.0,)}, "above 0 in every channel"),
        ({"mean": (), "std": ()}, "at least 1"),
    ],
)
def test_constants_that_make_no_sense_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Normalization(**values)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(2, 1, 3, 3), "got torch.float32"),
        (torch.zeros(2, 3, 3, 3, dtype=torch.uint8), r"\(N, 1, H, W\).*shape \(2, 3, 3, 3\)"),
        (torch.zeros(1, 3, 3, dtype=torch.uint8), r"shape \(1, 3, 3\)"),
    ],
)
def test_other_images_are_refused(images: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Normalization(mean=(0.5,), std=(1.0,)).apply(images)
