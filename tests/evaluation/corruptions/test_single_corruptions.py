"""What single corruptions do, against independent formulas."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.stats import kstest, norm, poisson

from model_compression.evaluation import corrupt
from model_compression.evaluation.corruptions.fields import Draws, plasma, ridges
from model_compression.evaluation.corruptions.levels import Levels, length_scale
from model_compression.evaluation.corruptions.resampling import (
    disc,
    gaussian_blur,
    motion_blur,
    pixel_grid,
    sample,
    shrink,
    zoom,
)


def flat(value: int, count: int = 4, channels: int = 1, side: int = 32) -> torch.Tensor:
    return torch.full((count, channels, side, side), value, dtype=torch.uint8)


def changed(images: torch.Tensor, name: str, severity: int) -> np.ndarray:
    return corrupt(images, torch.arange(len(images)), name, severity).numpy()


def draws(count: int = 4) -> Draws:
    return Draws(seed=3, corruption=0, indices=torch.arange(count))


def test_uniform_and_normal_draws_have_their_distributions():
    assert kstest(draws().uniform(0, 50, 50).flatten().numpy(), "uniform").pvalue > 0.001
    assert kstest(draws().normal(1, 50, 50).flatten().numpy(), norm.cdf).pvalue > 0.001
    assert not torch.equal(draws().uniform(0, 9), draws().uniform(1, 9))


def test_gaussian_noise_has_the_published_deviation():
    noise = changed(flat(128), "gaussian_noise", 5) / 255 - 128 / 255
    assert noise.std() == pytest.approx(0.10, rel=0.05)
    assert changed(flat(128, side=224, count=1), "gaussian_noise", 5).std() > 60


def test_shot_noise_is_poisson_at_every_brightness():
    for value in (1, 60, 255):
        rate = 50 * value / 255
        counts = changed(flat(value, count=8), "shot_noise", 5).ravel() / 255 * 50
        few = np.ceil(rate) - 1
        expected = poisson.cdf(few, rate)
        assert (np.round(counts) <= few).mean() == pytest.approx(expected, abs=0.02)
        if value < 255:  # above 50 photons a value is clipped to white
            assert counts.mean() == pytest.approx(rate, rel=0.1)
            assert counts.var() == pytest.approx(rate, rel=0.15)


def test_impulse_noise_is_salt_and_pepper_in_equal_shares():
    noisy = changed(flat(100, count=20), "impulse_noise", 5)
    assert set(np.unique(noisy)) == {0, 100, 255}
    assert (noisy == 0).mean() == pytest.approx(0.035, abs=0.005)
    assert (noisy == 255).mean() == pytest.approx(0.035, abs=0.005)


def test_brightness_keeps_hue_and_saturation():
    colour = torch.tensor([100, 40, 0], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    brighter = changed(colour, "brightness", 4)[0, :, 0, 0]
    # V goes from 100 to 100 + 0.2 · 255 = 151; the others keep their share of it.
    assert brighter.tolist() == [151, 60, 0]


def test_contrast_shrinks_towards_each_channels_mean():
    image = torch.tensor([[0, 200], [100, 100]], dtype=torch.uint8).view(1, 1, 2, 2)
    assert changed(image, "contrast", 2)[0, 0].tolist() == [[50, 150], [100, 100]]


def test_jpeg_is_what_pillow_makes_of_it():
    picture = (np.arange(16 * 16 * 3).reshape(16, 16, 3) % 251).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=40)
    expected = np.asarray(Image.open(buffer)).transpose(2, 0, 1)
    images = torch.from_numpy(picture.transpose(2, 0, 1).copy())[None]
    np.testing.assert_array_equal(changed(images, "jpeg_compression", 5)[0], expected)


def test_pixelate_makes_blocks_of_means():
    image = torch.arange(64, dtype=torch.uint8).view(1, 1, 8, 8)
    coarse = shrink(image.float(), 4, 4)
    expected = image.float().view(4, 2, 4, 2).mean((1, 3))
    torch.testing.assert_close(coarse[0, 0], expected)
    third = shrink(torch.tensor([[[[0.0, 3.0]]]]), 1, 1)
    torch.testing.assert_close(third, torch.tensor([[[[1.5]]]]))
    uneven = shrink(torch.tensor([[[[1.0, 2.0, 6.0]]]]), 1, 2)
    torch.testing.assert_close(uneven[0, 0, 0], torch.tensor([2.0 / 3 * 1 + 1.0 / 3 * 2, 14 / 3]))


def test_gaussian_blur_is_scipys():
    image = np.random.default_rng(0).random((20, 17)).astype(np.float32)
    expected = gaussian_filter(image, 1.3, mode="nearest", truncate=4)
    blurred = gaussian_blur(torch.from_numpy(image)[None, None], 1.3)[0, 0].numpy()
    np.testing.assert_allclose(blurred, expected, atol=2e-3)


@pytest.mark.parametrize("radius", [0.3, 1.3, 1.6, 4.0, 10.0])
def test_a_disc_weighs_pixels_by_their_share_of_it(radius):
    weights = disc(radius)
    assert float(weights.sum()) == pytest.approx(1, abs=1e-5)
    assert torch.equal(weights, weights.T)
    assert torch.equal(weights, weights.flip(0))
    if radius >= 4:
        middle = float(weights[len(weights) // 2, len(weights) // 2])
        assert middle == pytest.approx(1 / (np.pi * radius**2), rel=0.02)


def test_the_largest_small_disc_spreads_light_as_far_as_the_published_square_of_nine():
    weights = disc(1.6)
    steps = torch.arange(len(weights)) - len(weights) // 2
    assert float((weights * steps[:, None] ** 2).sum()) == pytest.approx(2 / 3, abs=0.02)


def test_sampling_at_the_pixels_gives_the_image_and_between_them_their_mean():
    image = torch.rand(1, 2, 5, 7)
    rows, columns = pixel_grid(5, 7)
    torch.testing.assert_close(sample(image, rows, columns), image, atol=1e-5, rtol=0)
    between = sample(image, rows, columns + 0.5)[..., :-1]
    torch.testing.assert_close(between, (image[..., 1:] + image[..., :-1]) / 2, atol=1e-5, rtol=0)
    beyond = sample(image, rows - 100, columns)
    torch.testing.assert_close(beyond, image[:, :, :1].expand_as(image), atol=1e-5, rtol=0)


def test_zoom_keeps_the_middle_and_enlarges_around_it():
    image = torch.zeros(1, 1, 9, 9)
    image[0, 0, 4, 4] = 1
    torch.testing.assert_close(zoom(image, 1.0), image)
    row = zoom(image, 2.0)[0, 0, 4]
    torch.testing.assert_close(row[3:6], torch.tensor([0.5, 1.0, 0.5]))
    assert row.sum() == 2


def test_motion_blur_smears_along_its_direction_by_half_a_gaussian():
    image = torch.zeros(2, 1, 15, 15)
    image[:, 0, 7, 7] = 1
    smeared = motion_blur(image, torch.tensor([0.0, 90.0]), sigma=1.0, length=6)
    weights = np.exp(-0.5 * np.arange(4) ** 2)
    weights /= weights.sum()
    np.testing.assert_allclose(smeared[0, 0, 7, 4:8].numpy(), weights[::-1], atol=1e-4)
    np.testing.assert_allclose(smeared[1, 0, 4:8, 7].numpy(), weights[::-1], atol=1e-4)
    assert smeared[0, 0, 7, 8:].abs().max() < 1e-4


def test_elastic_transform_bends_as_much_as_it_says():
    side = 32
    ramp = torch.arange(0, 8 * side, 8, dtype=torch.uint8).expand(64, 1, side, side)
    moved = changed(ramp, "elastic_transform", 5)[:, 0, 4:-4, 4:-4].astype(float)
    shift = (moved - ramp.numpy()[:, 0, 4:-4, 4:-4]) / 8
    # The bend alone is 0.02 · 32 pixels; the map adds up to 0.06 · 32 at its points.
    assert 0.64 < np.sqrt((shift**2).mean()) < 2.5


def test_fog_keeps_the_brightest_value_and_thickens():
    image = flat(200, count=2)
    image[:, :, :16] = 20
    foggy = changed(image, "fog", 5)
    assert foggy.max() <= 200
    assert foggy[:, :, :16].mean() > 40


@pytest.mark.parametrize(("height", "width"), [(1, 1), (8, 5), (33, 40)])
def test_fractal_fields_fill_zero_to_one(height, width):
    for field in (plasma(draws(), 0, height, width, 2.0), ridges(draws(), 0, height, width)):
        assert field.shape == (4, 1, height, width)
        if height > 1:
            assert (field.amin((1, 2, 3)) == 0).all()
            torch.testing.assert_close(field.amax((1, 2, 3)), torch.ones(4))


def test_a_faster_decay_makes_a_smoother_plasma():
    rough, smooth = (plasma(draws(16), 0, 32, 32, decay) for decay in (1.2, 3.0))
    assert smooth.diff(dim=3).abs().mean() < 0.5 * rough.diff(dim=3).abs().mean()


def test_constants_and_lengths_go_with_the_size():
    levels = Levels(("a",) * 5, ("b",) * 5)
    assert [levels.at(1, side) for side in (8, 32, 84, 85, 224)] == ["a", "a", "a", "b", "b"]
    assert [length_scale(side) for side in (16, 32, 112, 224, 448)] == [0.5, 1, 0.5, 1, 2]
