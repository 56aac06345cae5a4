import warnings

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from model_compression.models import ModelError, ModelSettings, build_model
from model_compression.models.torchvision_zoo import torchvision_architecture

SMALL = ["mnasnet0_5", "mobilenet_v3_small", "shufflenet_v2_x0_5", "squeezenet1_1", "resnet18"]
ONE_OF_EVERY_FAMILY = [
    *SMALL,
    *("alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "inception_v3"),
    *("maxvit_t", "mobilenet_v2", "swin_t", "vgg11_bn", "vit_b_32"),
]


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_network_fits_the_channels_and_classes(name: str, channels: int) -> None:
    model = build_model(ModelSettings(name=name).spec((channels, 32, 32), 7)).eval()
    assert model(torch.zeros(2, channels, 32, 32)).shape == (2, 7)


@pytest.mark.parametrize("name", ONE_OF_EVERY_FAMILY)
def test_the_first_convolution_of_any_network_takes_the_images_channels(name: str) -> None:
    with torch.device("meta"):
        model = torchvision_architecture(name).build((5, 224, 224), 7, {})
    first = next(layer for layer in model.modules() if isinstance(layer, nn.Conv2d))
    assert first.in_channels == first.weight.shape[1] == 5


def test_a_vision_transformer_is_built_for_the_images_size() -> None:
    with torch.device("meta"):
        model = torchvision_architecture("vit_b_32").build((3, 64, 64), 7, {})
    assert model.encoder.pos_embedding.shape[1] == (64 // 32) ** 2 + 1


def test_maxvit_is_built_for_the_images_size() -> None:
    architecture = torchvision_architecture("maxvit_t")
    with torch.device("meta"), pytest.raises(ValueError, match=r"(?s)Input size.*partition size"):
        architecture.build((3, 100, 100), 7, {})


def test_auxiliary_heads_are_left_out_without_a_warning() -> None:
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("error")
        model = torchvision_architecture("googlenet").build((3, 64, 64), 7, {})
    assert model.aux1 is None


def test_options_reach_the_constructor() -> None:
    settings = ModelSettings(name="mobilenet_v2", options={"width_mult": 0.25, "dropout": 0.5})
    model = build_model(settings.spec((3, 32, 32), 7))
    assert model.classifier[0].p == 0.5
    assert model.features[0][0].out_channels == 8


def test_a_regnet_is_accepted_though_its_options_cant_be_tried() -> None:
    assert ModelSettings(name="regnet_x_400mf", options={"stem_width": 8}).options


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet18", {"widht": 1}, "takes no option widht; the options are: groups, replace_"),
        ("resnet18", {"weights": "DEFAULT"}, "takes no option weights"),
        ("resnet18", {"num_classes": 3}, "takes no option num_classes"),
        ("resnet18", {"norm_layer": "x"}, "takes no option norm_layer"),
        ("googlenet", {"aux_logits": True}, "takes no option aux_logits"),
        ("densenet121", {"growth_rate": 12}, "multiple values for argument 'growth_rate'"),
        ("mobilenet_v2", {"width_mult": "wide"}, "can't be built with"),
    ],
)
def test_an_impossible_option_is_refused_when_it_is_read(
    name: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        ModelSettings(name=name, options=options)


def test_an_image_too_small_is_refused_before_training() -> None:
    with pytest.raises(ModelError, match=r"'alexnet' fails .* a larger image_size may help"):
        build_model(ModelSettings(name="alexnet").spec((1, 28, 28), 10))
