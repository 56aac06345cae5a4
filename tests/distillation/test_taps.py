import pytest
import torch
from torch import nn

from model_compression.distillation import DistillationError, Need, Taps
from model_compression.models import ModelSettings, build_model
from model_compression.quantization import calibrate, prepare_qat


def network(name: str, side: int = 12, **options) -> nn.Module:
    torch.manual_seed(0)
    settings = ModelSettings(name=name, options=options)
    return build_model(settings.spec((1, side, side), 3)).eval()


IMAGES = torch.randn(4, 1, 12, 12, generator=torch.Generator().manual_seed(1))


def test_features_are_what_the_stages_give():
    model = network("resnet8", width=4)
    seen = Taps(model, (1, 12, 12), Need.FEATURES).observe(model, IMAGES)
    x = model.relu(model.norm(model.stem(IMAGES)))
    for stage, feature in zip(model.stages, seen.features, strict=True):
        x = stage(x)
        torch.testing.assert_close(feature, x)
    torch.testing.assert_close(seen.logits, model(IMAGES))


def test_preactivations_are_what_enters_the_last_relu():
    model = network("resnet8", width=4)
    seen = Taps(model, (1, 12, 12), Need.PREACTIVATIONS).observe(model, IMAGES)
    shown = Taps(model, (1, 12, 12), Need.FEATURES).observe(model, IMAGES)
    assert min(feature.min() for feature in seen.features) < 0
    for before, after in zip(seen.features, shown.features, strict=True):
        torch.testing.assert_close(before.relu(), after)


@pytest.mark.parametrize("name", ["wrn_16_1", "mobilenet_v2"])
def test_a_layer_that_ends_without_an_activation_is_its_own_preactivation(name):
    side = 28 if name == "wrn_16_1" else 64
    layer = "stages.0" if name == "wrn_16_1" else "features.6"
    model = network(name, side)
    images = torch.randn(2, 1, side, side)
    before = Taps(model, (1, side, side), Need.PREACTIVATIONS, [layer]).observe(model, images)
    after = Taps(model, (1, side, side), Need.FEATURES, [layer]).observe(model, images)
    assert after.features[0].min() < 0
    torch.testing.assert_close(before.features[0], after.features[0])


def test_preactivations_survive_an_activation_in_place():
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(200, 3)
    )
    seen = Taps(model, (1, 12, 12), Need.PREACTIVATIONS, ["1"]).observe(model, IMAGES)
    torch.testing.assert_close(seen.features[0], model[0](IMAGES))


def test_the_embedding_is_what_enters_the_classifier():
    model = network("resnet8", width=4)
    seen = Taps(model, (1, 12, 12), Need.EMBEDDING).observe(model, IMAGES)
    torch.testing.assert_close(model.classifier(seen.embedding), seen.logits)


def test_without_a_linear_classifier_the_embedding_is_the_pooled_last_map():
    model = nn.Sequential(
        nn.Conv2d(1, 5, 3), nn.ReLU(), nn.Conv2d(5, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    seen = Taps(model, (1, 12, 12), Need.EMBEDDING).observe(model, IMAGES)
    torch.testing.assert_close(seen.embedding, model[2](model[1](model[0](IMAGES))).mean((2, 3)))


def test_gradient_goes_through_what_is_seen():
    model = network("resnet8", width=4)
    Taps(model, (1, 12, 12), Need.FEATURES).observe(model, IMAGES).features[1].sum().backward()
    assert model.stages[1][0].conv1.weight.grad is not None
    assert model.classifier.weight.grad is None


def test_nothing_is_left_in_the_network():
    model = network("resnet8", width=4)
    taps = Taps(model, (1, 12, 12), Need.FEATURES)
    taps.observe(model, IMAGES)
    taps.probe()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_probing_changes_neither_mode_nor_statistics():
    model = network("resnet8", width=4).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    Taps(model, (1, 12, 12), Need.FEATURES).probe()
    assert all(module.training for module in model.modules())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_layers_by_name_come_as_they_were_named():
    model = network("resnet8", width=4)
    taps = Taps(model, (1, 12, 12), Need.FEATURES, ["stages.2", "stem"])
    assert [f.shape[1] for f in taps.probe().features] == [16, 4]


def test_a_wrong_layer_is_refused():
    with pytest.raises(DistillationError, match=r"no layer 'stages\.3'.*stages\.0, stages\.1"):
        Taps(network("resnet8", width=4), (1, 12, 12), Need.FEATURES, ["stages.3"])


def test_another_network_is_refused():
    taps = Taps(network("resnet8", width=4), (1, 12, 12), Need.FEATURES)
    with pytest.raises(DistillationError, match="the network that the taps were made for"):
        taps.observe(network("resnet8", width=4), IMAGES)


@pytest.mark.parametrize("need", [Need.FEATURES, Need.PREACTIVATIONS, Need.EMBEDDING])
def test_a_graph_for_quantization_shows_what_its_network_does(need):
    model = network("resnet8", width=4)
    graph = prepare_qat(model, (1, 12, 12))
    calibrate(graph, [IMAGES])
    graph.eval()
    expected = Taps(model, (1, 12, 12), need).observe(model, IMAGES)
    seen = Taps(graph, (1, 12, 12), need).observe(graph, IMAGES)
    assert len(seen.features) == len(expected.features)
    values = zip(
        (*seen.features, *([] if seen.embedding is None else [seen.embedding])),
        (*expected.features, *([] if expected.embedding is None else [expected.embedding])),
        strict=True,
    )
    for quantized, plain in values:
        # The weights have 7 bits, and the layers are up to nine deep.
        assert (quantized - plain).abs().mean() < 0.1 * plain.abs().mean()


def test_a_graph_for_quantization_keeps_its_state_and_its_answers():
    graph = prepare_qat(network("resnet8", width=4), (1, 12, 12))
    calibrate(graph, [IMAGES])
    graph.eval()
    names, logits = list(graph.state_dict()), graph(IMAGES)
    Taps(graph, (1, 12, 12), Need.FEATURES)
    assert list(graph.state_dict()) == names
    torch.testing.assert_close(graph(IMAGES), logits, rtol=0, atol=0)


# One of each family, at the smallest images that leave every stage a map.
FAMILIES = {
    "alexnet": (96, ["features.4", "features.11", "features.12"]),
    "convnext_tiny": (64, ["features.3", "features.5", "features.7"]),
    "densenet121": (64, ["features.denseblock2", "features.denseblock3", "features.norm5"]),
    "efficientnet_b0": (64, ["features.3", "features.5", "features.8"]),
    "googlenet": (64, ["inception3b", "inception4e", "inception5b"]),
    "inception_v3": (96, ["Conv2d_4a_3x3", "Mixed_5d", "Mixed_6e"]),
    "mnasnet0_5": (64, ["layers.9", "layers.11", "layers.16"]),
    "mobilenet_v2": (64, ["features.6", "features.13", "features.18"]),
    "mobilenet_v3_small": (64, ["features.3", "features.8", "features.12"]),
    "net": (28, ["pool1", "relu2", "pool2"]),
    "regnet_y_400mf": (
        64,
        ["trunk_output.block2", "trunk_output.block3", "trunk_output.block4"],
    ),
    "resnet8": (28, ["stages.0", "stages.1", "stages.2"]),
    "resnet18": (64, ["layer2", "layer3", "layer4"]),
    "shufflenet_v2_x0_5": (64, ["stage2", "stage3", "conv5"]),
    "squeezenet1_1": (64, ["features.4", "features.7", "features.12"]),
    "swin_t": (64, ["features.3", "features.5", "permute"]),
    "vgg11": (32, ["features.9", "features.14", "features.19"]),
    "vit_b_32": (64, ["encoder"]),
    "wrn_16_1": (28, ["stages.0", "stages.1", "relu"]),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_has_sensible_layers_to_look_at(name):
    side, expected = FAMILIES[name]
    model = network(name, side)
    taps = Taps(model, (1, side, side), Need.FEATURES)
    assert list(taps.layers) == expected
    areas = [feature.shape[2] * feature.shape[3] for feature in taps.probe().features]
    assert areas == sorted(areas, reverse=True)
    embedding = Taps(model, (1, side, side), Need.EMBEDDING).probe().embedding
    assert embedding is not None
    assert embedding.ndim == 2
