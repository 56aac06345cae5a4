from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError
from torch import Tensor

from model_compression.deployment import (
    OnnxRuntimeClassifier,
    export_onnx,
    graph_cost,
    require_fused,
)
from model_compression.fingerprint import fingerprint
from model_compression.images import Normalization
from model_compression.models import (
    Checkpoint,
    ModelError,
    ModelSettings,
    ModelSpec,
    WeightsError,
    build_model,
    build_with_weights,
    read_checkpoint,
    write_checkpoint,
)
from model_compression.models.views import Sight, Viewed, look, seen_shape, sobel
from model_compression.pruning import ChannelPruningSettings, prune_channels
from model_compression.quantization import calibrate, convert, load_quantized, prepare_qat

ALL = get_args(Sight)
VIEWS = [sees for sees in ALL if sees != "image"]
CLASSES = ("a", "b", "c")

# The kernels as the literature prints them, divided by 4.
TO_THE_RIGHT = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 4
DOWNWARD = TO_THE_RIGHT.T


def correlated(images: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Each channel's 3x3 windows times ``kernel``, the border repeated."""
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    return np.einsum("nchwij,ij->nchw", windows, kernel)


def shapes() -> st.SearchStrategy[tuple[int, ...]]:
    return st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 9), st.integers(1, 9))


def normalization(channels: int) -> Normalization:
    return Normalization(mean=(0.4, 0.5, 0.3)[:channels], std=(0.3, 0.25, 0.2)[:channels])


def photos(shape: tuple[int, int, int], count: int = 16) -> Tensor:
    """Random bytes, each channel of each image with a black and a white one."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, *shape), generator=generator, dtype=torch.uint8)
    images[:, :, 0, :2] = torch.tensor([0, 255], dtype=torch.uint8)
    return images


def trained(sees: str, shape: tuple[int, int, int]) -> tuple[ModelSpec, torch.nn.Module]:
    """A viewed resnet8 whose batch norms know the images; their spec and it, in eval mode."""
    torch.manual_seed(0)
    spec = ModelSettings(name="resnet8", sees=sees).spec(shape, len(CLASSES))
    module = build_model(spec).train()
    with torch.no_grad():
        for _ in range(20):
            module(normalization(shape[0]).apply(photos(shape)))
    return spec, module.eval()


def exported(module: torch.nn.Module, shape: tuple[int, int, int]):
    return export_onnx(
        module,
        input_shape=shape,
        normalization=normalization(shape[0]),
        classes=CLASSES,
        stage="student",
        fingerprint="f",
        architecture="resnet8",
    )


@given(shapes().flatmap(lambda shape: arrays(np.float64, shape, elements=st.floats(-3, 3))))
def test_gradients_are_those_of_sobels_kernels(images):
    right, down = sobel(torch.from_numpy(images))
    np.testing.assert_allclose(right, correlated(images, TO_THE_RIGHT), atol=1e-12)
    np.testing.assert_allclose(down, correlated(images, DOWNWARD), atol=1e-12)


def test_a_ramp_has_the_gradient_of_its_slope_and_none_across():
    ramp = torch.arange(5.0).expand(1, 1, 4, 5)
    right, down = sobel(ramp)
    assert torch.equal(right[0, 0, 0], torch.tensor([1.0, 2.0, 2.0, 2.0, 1.0]))
    assert torch.equal(down, torch.zeros(1, 1, 4, 5))


@given(shapes().flatmap(lambda shape: arrays(np.float64, shape, elements=st.floats(-3, 3))))
def test_gradients_stay_within_the_images_range(images):
    largest = max(gradient.abs().max() for gradient in sobel(torch.from_numpy(images)))
    assert largest <= np.ptp(images) + 1e-12


def test_a_brighter_image_has_the_same_gradients_and_a_mirrored_one_the_opposite():
    torch.manual_seed(0)
    images = torch.randn(2, 3, 6, 5, dtype=torch.float64)
    seen = look(images, "gradients")
    torch.testing.assert_close(look(images + 7, "gradients"), seen)
    right, down = look(images.flip(3), "gradients").flip(3).split(3, dim=1)
    torch.testing.assert_close(torch.cat((-right, down), 1), seen)


def test_image_and_gradients_are_the_image_with_the_gradients_behind_it():
    images = torch.randn(2, 3, 6, 5)
    seen = look(images, "image_and_gradients")
    assert torch.equal(seen[:, :3], images)
    assert torch.equal(seen[:, 3:], look(images, "gradients"))


def test_half_resolution_is_the_mean_of_four_pixels_and_drops_an_odd_border():
    images = torch.randn(2, 3, 27, 5)
    expected = images.numpy()[:, :, :26, :4].reshape(2, 3, 13, 2, 2, 2).mean((3, 5))
    np.testing.assert_allclose(look(images, "half_resolution"), expected, atol=1e-6)


def test_grey_is_the_channels_mean_and_leaves_a_grey_image():
    images = torch.randn(2, 3, 6, 5)
    np.testing.assert_allclose(look(images, "grey"), images.numpy().mean(1)[:, None], atol=1e-6)
    assert torch.equal(look(images[:, :1], "grey"), images[:, :1])


@pytest.mark.parametrize("sees", ALL)
@given(shape=st.tuples(st.integers(1, 4), st.integers(2, 9), st.integers(2, 9)))
@settings(deadline=None, max_examples=20)
def test_a_view_has_the_shape_that_its_network_is_built_for(sees, shape):
    assert look(torch.zeros(2, *shape), sees).shape == (2, *seen_shape(shape, sees))


@pytest.mark.parametrize(("channels", "seen"), [(1, (3, 13)), (3, (9, 13))])
def test_networks_are_built_for_what_they_see(channels, seen):
    shape = (channels, 27, 27)
    both = build_model(ModelSettings(name="resnet8", sees="image_and_gradients").spec(shape, 3))
    half = build_model(ModelSettings(name="net", sees="half_resolution").spec(shape, 3))
    assert isinstance(both, Viewed)
    assert both.network.stem.in_channels == seen[0]
    assert half.network.linear1.in_features == 16 * ((seen[1] // 2 - 4) // 2) ** 2
    assert half(torch.zeros(2, *shape)).shape == (2, 3)


@pytest.mark.parametrize("sees", VIEWS)
def test_torchvisions_networks_can_have_a_view(sees):
    spec = ModelSettings(name="squeezenet1_1", sees=sees).spec((3, 64, 64), 3)
    assert build_model(spec)(torch.zeros(2, 3, 64, 64)).shape == (2, 3)


def test_whoever_sees_the_image_is_the_network_itself():
    spec = ModelSettings(name="net").spec((1, 28, 28), 10)
    assert not any(isinstance(module, Viewed) for module in build_model(spec).modules())


def test_specs_from_before_there_were_views_keep_their_fingerprint_and_can_be_read():
    old = {"name": "net", "options": {}, "input_shape": [1, 28, 28], "classes": 10}
    spec = ModelSpec.model_validate(old)
    assert spec.sees == "image"
    assert spec.model_dump(mode="json") == old
    assert fingerprint(spec) == fingerprint(old)
    assert ModelSettings(name="net").model_dump(mode="json") == {"name": "net", "options": {}}


def test_another_view_is_another_fingerprint_and_comes_back_from_a_file():
    spec = ModelSettings(name="net", sees="gradients").spec((1, 28, 28), 10)
    assert fingerprint(spec) != fingerprint(spec.model_copy(update={"sees": "image"}))
    assert ModelSpec.model_validate_json(spec.model_dump_json()) == spec


def test_an_unknown_view_is_refused_with_the_known_ones():
    with pytest.raises(ValidationError, match=r"'half_resolution'.*'image_and_gradients'"):
        ModelSettings(name="net", sees="gradient")


def test_an_image_of_one_pixel_has_no_half_resolution():
    spec = ModelSettings(name="resnet8", sees="half_resolution").spec((1, 1, 9), 3)
    with pytest.raises(ModelError, match="1x9 pixels has no half resolution: set sees: image"):
        build_model(spec)


def test_too_small_a_view_is_blamed_on_the_view():
    spec = ModelSettings(name="net", sees="half_resolution").spec((1, 22, 22), 3)
    with pytest.raises(ModelError, match=r"shape \(1, 11, 11\), its half_resolution.*not 11x11"):
        build_model(spec)


def test_weights_of_another_view_are_refused():
    image = ModelSettings(name="resnet8").spec((1, 12, 12), 3)
    both = ModelSettings(name="resnet8", sees="image_and_gradients").spec((1, 12, 12), 3)
    gradients = ModelSettings(name="resnet8", sees="gradients").spec((1, 12, 12), 3)
    for spec in (image, gradients):
        with pytest.raises(WeightsError):
            build_with_weights(spec, build_model(both).state_dict())


def test_a_view_adds_nothing_to_the_weights():
    names = build_model(ModelSettings(name="net").spec((1, 28, 28), 3)).state_dict()
    viewed = ModelSettings(name="net", sees="image_and_gradients").spec((1, 28, 28), 3)
    assert set(build_model(viewed).state_dict()) == {f"network.{name}" for name in names}


@pytest.mark.parametrize("sees", VIEWS)
@pytest.mark.parametrize("shape", [(1, 27, 27), (3, 12, 12)])
def test_the_file_takes_whole_images_and_sees_what_its_network_sees(sees, shape):
    _, module = trained(sees, shape)
    model = exported(module, shape)
    assert model.input_shape == shape
    images = photos(shape)
    with torch.no_grad():
        expected = module(normalization(shape[0]).apply(images)).numpy()
    np.testing.assert_allclose(
        OnnxRuntimeClassifier(model).logits(images.numpy()), expected, atol=1e-5
    )


@pytest.mark.parametrize("sees", VIEWS)
def test_a_pruned_network_keeps_its_view_and_comes_back_bit_by_bit(sees, tmp_path):
    shape = (3, 27, 27)
    spec, module = trained(sees, shape)
    pruned = prune_channels(module, shape, ChannelPruningSettings(method="channels", ratio=0.4), 0)
    images = normalization(3).apply(photos(shape))
    assert pruned.network.stem.in_channels == seen_shape(shape, sees)[0]
    checkpoint = Checkpoint(spec, pruned.state_dict(), "pruned", "f", CLASSES, normalization(3))
    write_checkpoint(checkpoint, tmp_path / "model.safetensors")
    again = read_checkpoint(tmp_path / "model.safetensors").build()
    assert sum(p.numel() for p in again.parameters()) < sum(p.numel() for p in module.parameters())
    assert again.sees == sees
    with torch.no_grad():
        assert torch.equal(again(images), pruned.eval()(images))


@pytest.mark.parametrize(
    ("sees", "shape"),
    [
        ("half_resolution", (1, 27, 27)),
        ("grey", (3, 12, 12)),
        ("gradients", (1, 13, 13)),
        ("image_and_gradients", (3, 12, 12)),
    ],
)
def test_every_trained_layer_of_a_quantized_network_runs_in_integers(sees, shape):
    spec, module = trained(sees, shape)
    images = photos(shape)
    batch = normalization(shape[0]).apply(images)
    model = prepare_qat(module, shape)
    calibrate(model, [batch])
    converted = convert(model)
    file = exported(converted, shape)
    # Ten layers: the view adds none.
    assert len(require_fused(file).fused) == 10
    float_cost = graph_cost(exported(module, shape))
    assert graph_cost(file).macs == float_cost.macs
    assert graph_cost(file).parameters == float_cost.parameters
    with torch.no_grad():
        expected = converted(batch).numpy()
        unquantized = module(batch).numpy()
    size = abs(expected).max()
    logits = OnnxRuntimeClassifier(file).logits(images.numpy())
    assert abs(logits - expected).max() < 0.02 * size
    assert abs(logits - unquantized).max() < 0.1 * size
    kept = Checkpoint(
        spec,
        model.state_dict(),
        "quantized",
        "f",
        CLASSES,
        normalization(shape[0]),
        graph="qat",
        details={"quantization": {"method": "qat"}},
    )
    with torch.no_grad():
        assert torch.equal(load_quantized(kept)(batch), converted(batch))


@pytest.mark.parametrize("sees", VIEWS)
def test_a_view_works_in_bfloat16_and_channels_last(sees):
    _, module = trained(sees, (3, 12, 12))
    images = normalization(3).apply(photos((3, 12, 12))).to(memory_format=torch.channels_last)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        logits = module(images)
    with torch.no_grad():
        expected = module(images)
    assert abs(logits.float() - expected).max() < 0.05 * abs(expected).max()
