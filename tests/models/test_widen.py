import pytest
import torch
from torch import Tensor, nn

from model_compression.models import (
    ModelError,
    ModelSettings,
    ModelSpec,
    build_model,
    build_with_weights,
)
from model_compression.models.widen import widen_classifier


class Headless(nn.Module):
    """Its logits come from a convolution, though it has a linear layer too."""

    def __init__(self, channels: int, classes: int, linear: bool = True) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4) if linear else nn.Identity()
        self.head = nn.Conv2d(channels, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.inner(x)).mean((2, 3))


class Misleading(nn.Module):
    """Its last linear layer has as many outputs as there are classes, but does not make them."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(channels, classes)
        self.scale = nn.Linear(classes, classes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.scale(x.mean((2, 3)).new_ones(len(x), 3))[:, :1] * x.mean((2, 3)))


@pytest.mark.parametrize("name", ["net", "resnet8", "mobilenet_v3_small"])
def test_old_rows_stay_bit_for_bit_and_new_ones_are_drawn(name):
    torch.manual_seed(0)
    spec = ModelSettings(name=name).spec((1, 32, 32), 3)
    module = build_model(spec).eval()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    widened, wider = widen_classifier(module, spec, 5)
    assert wider == spec.model_copy(update={"classes": 5})
    changed = []
    for key, value in widened.state_dict().items():
        assert torch.equal(module.state_dict()[key], before[key])
        if value.shape == before[key].shape:
            assert torch.equal(value, before[key])
        else:
            assert torch.equal(value[:3], before[key])
            assert value[3:].abs().min() > 0
            changed.append(key.rpartition(".")[2])
    assert sorted(changed) == ["bias", "weight"]
    assert not any(part.training for part in widened.modules())
    images = torch.randn(2, 1, 32, 32)
    torch.testing.assert_close(widened(images)[:, :3], module(images))


def test_new_rows_are_as_large_as_a_fresh_layers_and_depend_on_the_seed():
    spec = ModelSettings(name="resnet8").spec((1, 12, 12), 3)
    module = build_model(spec)

    def rows(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return widen_classifier(module, spec, 400)[0].classifier.weight[3:]

    assert torch.equal(rows(1), rows(1))
    assert not torch.equal(rows(1), rows(2))
    # PyTorch draws a linear layer's weights from ±1/sqrt(inputs).
    assert rows(0).abs().max().item() == pytest.approx(64**-0.5, rel=0.01)


def test_a_widened_network_can_be_stored_and_trained():
    spec = ModelSettings(name="resnet8", options={"width": 4}).spec((1, 12, 12), 3)
    widened, wider = widen_classifier(build_model(spec), spec, 5)
    again = build_with_weights(wider, widened.state_dict())
    assert repr(again) == repr(widened)
    again(torch.randn(2, 1, 12, 12)).sum().backward()
    assert all(parameter.grad is not None for parameter in again.parameters())


def test_a_layer_without_bias_stays_without():
    spec = ModelSpec(name=f"{__name__}:NoBias", input_shape=(2, 4, 4), classes=3)
    widened, _ = widen_classifier(build_model(spec), spec, 4)
    assert widened.classifier.bias is None


class NoBias(nn.Module):
    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(channels, classes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(x.mean((2, 3)))


@pytest.mark.parametrize("classes", [2, 3])
def test_no_new_class_is_refused(classes):
    spec = ModelSettings(name="net").spec((1, 12, 12), 3)
    with pytest.raises(ModelError, match=f"knows 3 classes already.* widened to {classes}"):
        widen_classifier(build_model(spec), spec, classes)


@pytest.mark.parametrize(
    ("options", "message"), [({}, "last one has 4 outputs"), ({"linear": False}, "it has none")]
)
def test_a_network_without_a_linear_head_is_refused(options, message):
    spec = ModelSpec(name=f"{__name__}:Headless", options=options, input_shape=(2, 4, 4), classes=3)
    message = f"3 logits must come from a linear layer, and .*{message}"
    with pytest.raises(ModelError, match=message):
        widen_classifier(build_model(spec), spec, 4)


def test_a_linear_layer_that_only_looks_like_a_head_is_found_out():
    spec = ModelSpec(name=f"{__name__}:Misleading", input_shape=(2, 4, 4), classes=3)
    with pytest.raises(ModelError, match=r"must give logits of shape \(2, 4\)"):
        widen_classifier(build_model(spec), spec, 4)
