import pytest
import torch

from model_compression.images import Normalization
from model_compression.models import (
    Checkpoint,
    CheckpointError,
    ModelSettings,
    build_model,
    build_with_weights,
)
from model_compression.quantization import (
    QatSettings,
    calibrate,
    convert,
    load_quantized,
    prepare_qat,
)

SHAPE = (1, 12, 12)


def checkpoint_of(spec, weights, graph, settings=None) -> Checkpoint:
    settings = settings or QatSettings()
    return Checkpoint(
        spec=spec,
        weights={name: value.clone() for name, value in weights.items()},
        stage="quantized",
        fingerprint="f",
        classes=("a", "b", "c"),
        normalization=Normalization(mean=(0.5,), std=(0.5,)),
        graph=graph,
        details={"quantization": settings.model_dump(mode="json")},
    )


def narrowed(name: str):
    """A spec, and its network with half the channels that the spec says, as pruning leaves it."""
    spec = ModelSettings(name=name).spec(SHAPE, 3)
    weights = {}
    for key, value in build_model(spec).state_dict().items():
        halves = [size // 2 if size % 8 == 0 else size for size in value.shape[:2]]
        weights[key] = value[tuple(slice(size) for size in halves)] if halves else value
    return spec, build_with_weights(spec, weights)


@pytest.mark.parametrize("name", ["net", "resnet8", "wrn_10_2"])
def test_a_pruned_and_quantized_network_comes_back_from_its_checkpoint_alone(name):
    spec, module = narrowed(name)
    settings = QatSettings(weight_bits=6)
    model = prepare_qat(module, SHAPE, settings)
    images = torch.randn(4, *SHAPE)
    calibrate(model, [images])
    model.eval()
    loaded = load_quantized(checkpoint_of(spec, model.state_dict(), "qat", settings))
    with torch.no_grad():
        assert torch.equal(loaded(images), convert(model)(images))
    assert not loaded.training


def test_loading_leaves_torchs_random_state_alone():
    spec, module = narrowed("resnet8")
    model = prepare_qat(module, SHAPE)
    calibrate(model, [torch.randn(4, *SHAPE)])
    before = torch.random.get_rng_state()
    load_quantized(checkpoint_of(spec, model.state_dict(), "qat"))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_float_checkpoint_is_refused():
    spec, module = narrowed("net")
    with pytest.raises(CheckpointError, match="build"):
        load_quantized(checkpoint_of(spec, module.state_dict(), "float"))


def test_weights_of_another_network_are_refused():
    _, module = narrowed("net")
    model = prepare_qat(module, SHAPE)
    spec = ModelSettings(name="resnet8").spec(SHAPE, 3)
    with pytest.raises(ValueError, match="not those of this network"):
        load_quantized(checkpoint_of(spec, model.state_dict(), "qat"))
