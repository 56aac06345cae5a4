import math

import pytest
import torch
from torch import nn

from model_compression.models import ResNet
from model_compression.models.resnet import DEPTHS, BasicBlock


def weighted_layers(model: nn.Module) -> list[nn.Module]:
    return [
        layer
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear) and "shortcut" not in name
    ]


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_resnet_has_as_many_weighted_layers_as_its_name_says(depth: int) -> None:
    assert len(weighted_layers(ResNet(1, 28, 10, depth=depth))) == depth


def test_resnet20_has_the_papers_size() -> None:
    # 0.27 million (table 6 of the paper), with the 2,752 weights of its two projections.
    assert sum(p.numel() for p in ResNet(3, 32, 10).parameters()) == 269_722 + 2_752


def test_each_stage_halves_the_side_and_doubles_the_channels() -> None:
    model = ResNet(1, 28, 10, depth=8, width=4)
    x = model.stem(torch.zeros(1, 1, 28, 28))
    shapes = [x.shape[1:]]
    for stage in model.stages:
        x = stage(x)
        shapes.append(x.shape[1:])
    assert shapes == [(4, 28, 28), (4, 28, 28), (8, 14, 14), (16, 7, 7)]


def test_a_stem_stride_of_two_halves_every_side() -> None:
    model = ResNet(1, 28, 10, depth=8, width=4, stem_stride=2)
    assert model.stem(torch.zeros(1, 1, 28, 28)).shape[2:] == (14, 14)
    assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_a_block_without_weights_passes_on_what_is_positive() -> None:
    block = BasicBlock(2, 2, stride=1).eval()
    nn.init.zeros_(block.conv2.weight)
    x = torch.randn(1, 2, 4, 4)
    torch.testing.assert_close(block(x), x.relu())


def test_convolutions_start_with_kaimings_variance() -> None:
    torch.manual_seed(0)
    weight = ResNet(1, 28, 10, depth=8, width=64).stages[2][0].conv2.weight
    assert weight.std().item() == pytest.approx(math.sqrt(2 / (256 * 9)), rel=0.01)


def test_an_exported_resnet_computes_the_same() -> None:
    model = ResNet(1, 12, 10, depth=8, width=4).eval()
    images = torch.randn(2, 1, 12, 12)
    exported = torch.export.export(model, (images,)).module()
    torch.testing.assert_close(exported(images), model(images))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 9}, "6n\\+2"),
        ({"depth": 2}, "6n\\+2"),
        ({"width": 0}, "at least 1, not 0 and 1"),
        ({"stem_stride": 0}, "at least 1, not 16 and 0"),
    ],
)
def test_an_impossible_resnet_is_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ResNet(1, 28, 10, **options)
