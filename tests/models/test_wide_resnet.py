import pytest
import torch
from torch import nn

from model_compression.models import WideResNet
from model_compression.models.wide_resnet import PreActivationBlock


@pytest.mark.parametrize("depth", [10, 16, 22])
def test_a_wide_resnet_has_as_many_layers_as_its_name_says(depth: int) -> None:
    # The paper counts the three projections, and not the classifier.
    convolutions = [m for m in WideResNet(1, 28, 10, depth=depth).modules() if is_convolution(m)]
    assert len(convolutions) == depth


def is_convolution(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d)


def test_wrn_40_2_has_the_papers_size() -> None:
    # 2.2 million, table 3 of the paper.
    count = sum(p.numel() for p in WideResNet(3, 32, 10, depth=40).parameters())
    assert round(count / 1e6, 1) == 2.2


def test_the_widen_factor_multiplies_every_stage() -> None:
    widths = [stage[0].conv2.out_channels for stage in WideResNet(1, 28, 10, widen_factor=3).stages]
    assert widths == [48, 96, 192]


def test_nothing_follows_the_sum_of_a_block() -> None:
    block = PreActivationBlock(2, 2, stride=1, dropout=0).eval()
    nn.init.zeros_(block.conv2.weight)
    x = torch.randn(1, 2, 4, 4)
    assert torch.equal(block(x), x)


def test_dropout_acts_in_training_only() -> None:
    torch.manual_seed(0)
    model = WideResNet(1, 12, 10, depth=10, widen_factor=1, dropout=0.5)
    images = torch.randn(2, 1, 12, 12)
    assert not torch.equal(model(images), model(images))
    model.eval()
    assert torch.equal(model(images), model(images))


def test_an_exported_wide_resnet_computes_the_same() -> None:
    model = WideResNet(1, 12, 10, depth=10, widen_factor=1).eval()
    images = torch.randn(2, 1, 12, 12)
    exported = torch.export.export(model, (images,)).module()
    torch.testing.assert_close(exported(images), model(images))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 17}, "6n\\+4"),
        ({"depth": 4}, "6n\\+4"),
        ({"widen_factor": 0}, "at least 1, not 0"),
        ({"dropout": 1.0}, "in \\[0, 1\\), not 1.0"),
    ],
)
def test_an_impossible_wide_resnet_is_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WideResNet(1, 28, 10, **options)
