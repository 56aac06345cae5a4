import copy

import pytest
import torch
from torch import Tensor, nn

from model_compression.models import ModelSettings, build_model
from model_compression.quantization.capture import kept_norms
from model_compression.quantization.norms import fold_kept_norms
from model_compression.quantization.qat import (
    QatModel,
    calibrate,
    convert,
    enable_rounding,
    prepare_qat,
    regrid,
)
from model_compression.quantization.settings import QatSettings

SHAPE = (1, 12, 12)


class Normed(nn.Module):
    """Norms behind a convolution, a linear layer, and a sum, which no layer precedes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3, bias=False)
        self.conv_norm = nn.BatchNorm2d(6)
        self.other = nn.Conv2d(6, 6, 1)
        self.sum_norm = nn.BatchNorm2d(6)
        self.linear = nn.Linear(6, 5)
        self.linear_norm = nn.BatchNorm1d(5, affine=False)
        self.classifier = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_norm(self.conv(x)).relu()
        x = self.sum_norm(x + self.other(x)).relu()
        x = self.linear_norm(self.linear(x.mean((2, 3)))).relu()
        return self.classifier(x)


def network(kind: str = "normed") -> nn.Module:
    torch.manual_seed(0)
    spec = ModelSettings(name="resnet8").spec(SHAPE, 3)
    module = Normed() if kind == "normed" else build_model(spec)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            with torch.no_grad():
                norm.weight.uniform_(-1, 1)
                norm.bias.uniform_(-0.5, 0.5)
            norm.weight.data[0] = 0.0
    for _ in range(20):
        module.train()(images())
    return module.eval()


def images(seed: int = 0) -> Tensor:
    return torch.randn(16, *SHAPE, generator=torch.Generator().manual_seed(seed))


def prepared(kind: str = "normed", **options: object) -> QatModel:
    model = prepare_qat(network(kind), SHAPE, QatSettings(**options))
    calibrate(model, [images()])
    return model


def trained(**options: object) -> QatModel:
    model = prepared(**options)
    optimizer = torch.optim.SGD(model.parameters(), 0.02)
    for seed in range(4):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model.train()(images(seed)), torch.arange(16) % 3).backward()
        optimizer.step()
    return model.eval()


def test_norms_behind_layers_stay_and_others_become_layers():
    names = {str(norm.target) for _, norm in kept_norms(prepared().prepared)}
    assert names == {"conv_norm", "linear_norm"}
    assert set(prepared().weight_quantizers()) == {
        "conv", "other", "sum_norm", "linear", "classifier"
    }  # fmt: skip


def test_without_rounding_the_network_computes_what_it_did():
    model = prepared("resnet8")
    enable_rounding(model, False)
    torch.testing.assert_close(
        model.eval()(images(1)), network("resnet8")(images(1)), rtol=1e-4, atol=1e-5
    )


def test_a_kept_norm_follows_the_batches_in_training_alone():
    model = prepared()
    norm = model.prepared.get_submodule("conv_norm")
    before = norm.running_mean.clone()
    model.eval()(images(3) + 1)
    assert torch.equal(norm.running_mean, before)
    model.train()(images(3) + 1)
    assert not torch.equal(norm.running_mean, before)


@pytest.mark.parametrize(
    "options",
    [{}, {"grid_steps": "learned", "weight_bits": 3}, {"grid_steps": "codebook", "weight_bits": 2}],
)
def test_folding_keeps_the_integers_up_to_their_sign(options):
    model = trained(**options)
    with torch.no_grad():
        model(images())
        folded = copy.deepcopy(model)
        before = {}
        for path, quantizer in folded.weight_quantizers().items():
            weight = folded.prepared.get_parameter(f"{path}.weight")
            weight.copy_(quantizer(weight))
            before[path] = integers(weight, quantizer.scale)
        signs = folded.prepared.get_submodule("conv_norm").weight.sign().view(-1, 1, 1, 1)
        fold_kept_norms(folded.prepared)
        after = {
            path: integers(folded.prepared.get_parameter(f"{path}.weight"), quantizer.scale)
            for path, quantizer in folded.weight_quantizers().items()
        }
    assert list(kept_norms(folded.prepared)) == []
    assert torch.equal(after["conv"], signs * before["conv"])
    for path in ("other", "linear", "classifier"):
        assert torch.equal(after[path], before[path])
    assert (signs < 0).any()


def integers(weight: Tensor, scale: Tensor) -> Tensor:
    return (weight / scale.view(-1, *(1,) * (weight.ndim - 1))).round()


@pytest.mark.parametrize("options", [{}, {"bits": {"conv": 32}}, {"weight_bits": 4}])
def test_the_converted_network_answers_as_the_trained_one(options):
    model = trained(**options)
    with torch.no_grad():
        expected = model(images(9))
        difference = (convert(model)(images(9)) - expected).abs().max()
    assert difference < 0.03 * expected.abs().max()


def test_other_settings_keep_what_the_norms_have_seen():
    model = trained(weight_bits=4)
    changed = regrid(model, network(), SHAPE, QatSettings(weight_bits=4, bits={"linear": 8}))
    for _, norm in kept_norms(model.prepared):
        for name, value in model.prepared.get_submodule(str(norm.target)).state_dict().items():
            assert torch.equal(changed.state_dict()[f"prepared.{norm.target}.{name}"], value)
    assert not torch.equal(
        model.state_dict()["prepared.conv_norm.running_mean"], network().conv_norm.running_mean
    )
