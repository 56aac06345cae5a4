import copy

import pytest
import torch
from torch import nn

from model_compression.models import ModelSettings, build_model
from model_compression.quantization import QatModel, calibrate, convert, prepare_qat, restore
from model_compression.quantization.zeros import carried_masks

SHAPE = (1, 12, 12)


def masked_network(name: str) -> tuple[nn.Module, list[str]]:
    """A network with trained-looking batch norms, half of whose weights are zero."""
    torch.manual_seed(0)
    module = build_model(ModelSettings(name=name).spec(SHAPE, 3)).train()
    module(torch.randn(16, *SHAPE))
    masked = []
    with torch.no_grad():
        for path, parameter in module.named_parameters():
            if parameter.ndim > 1:
                parameter.masked_fill_(torch.rand_like(parameter) < 0.5, 0.0)
                masked.append(path)
            else:
                parameter.add_(torch.randn_like(parameter))
    return module.eval(), masked


def prepared(module: nn.Module) -> QatModel:
    model = prepare_qat(module, SHAPE)
    calibrate(model, [torch.randn(16, *SHAPE)])
    return model


@pytest.mark.parametrize("name", ["net", "resnet8", "wrn_10_1", "mobilenet_v2"])
def test_every_mask_is_found_again_and_what_it_drops_is_zero_in_the_graph(name):
    module, masked = masked_network(name)
    model = prepared(module)
    masks = carried_masks(model, module, masked)
    assert len(masks) == len(masked)
    for path, mask in masks.items():
        weight = module.get_parameter(path.removeprefix("prepared."))
        assert torch.equal(mask, weight != 0)
        # Folding scales rows: no other weight has become zero.
        assert torch.equal(model.get_parameter(path) != 0, mask)


@pytest.mark.parametrize("name", ["net", "resnet8"])
def test_a_masked_weight_is_0_in_the_integers_too(name):
    module, masked = masked_network(name)
    model = prepared(module)
    masks = carried_masks(model, module, masked)
    restored = restore(copy.deepcopy(module), SHAPE, model.state_dict())
    integers = [value for value in convert(restored).buffers() if value.dtype == torch.int8]
    by_shape: dict[tuple[int, ...], list[torch.Tensor]] = {}
    for value in integers:
        by_shape.setdefault(tuple(value.shape), []).append(value)
    assert len(integers) == len(masks)
    for mask in masks.values():
        assert any(not value[~mask].any() for value in by_shape[tuple(mask.shape)])


def test_without_masks_there_is_nothing_to_hold():
    module, _ = masked_network("net")
    assert carried_masks(prepared(module), module, []) == {}


def test_a_layer_that_the_network_never_runs_needs_no_holding():
    class WithSpare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.spare = nn.Linear(144, 3), nn.Linear(2, 2)

        def forward(self, images):
            return self.used(images.flatten(1))

    module = WithSpare()
    masks = carried_masks(prepared(module), module, ["used.weight", "spare.weight"])
    assert list(masks) == ["prepared.used.weight"]


class Tied(nn.Module):
    """Two layers of one weight; with a norm behind them, folding parts them."""

    def __init__(self, norm: bool) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(144, 144), nn.Linear(144, 144)
        self.second.weight = self.first.weight
        self.norm = nn.BatchNorm1d(144) if norm else nn.Identity()
        self.last = nn.Linear(144, 3)

    def forward(self, images):
        hidden = torch.relu(self.first(images.flatten(1)))
        return self.last(torch.relu(self.norm(self.second(hidden))))


@pytest.mark.parametrize("norm", [False, True])
def test_a_weight_that_two_layers_share_is_found_wherever_it_is_in_the_graph(norm):
    torch.manual_seed(0)
    module = Tied(norm).eval()
    with torch.no_grad():
        module.first.weight.masked_fill_(torch.rand(144, 144) < 0.5, 0.0)
    model = prepared(module)
    masks = carried_masks(model, module, ["first.weight"])
    shared = {name for name, value in model.named_parameters() if value.shape == (144, 144)}
    assert shared
    assert set(masks) == shared
    for mask in masks.values():
        assert torch.equal(mask, module.first.weight != 0)


def test_masks_of_another_network_are_refused():
    module, masked = masked_network("net")
    model = prepared(module)
    with pytest.raises(ValueError, match=r"'conv9.weight' has a mask.*run the pruning pipeline"):
        carried_masks(model, module, ["conv9.weight"])
    module.get_submodule(masked[0].removesuffix(".weight")).weight = nn.Parameter(torch.ones(2, 2))
    with pytest.raises(ValueError, match=r"of shape \(2, 2\) in the pruned checkpoint"):
        carried_masks(model, module, masked)
