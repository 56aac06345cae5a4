import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from model_compression.models import ModelSettings, build_model
from model_compression.pruning import (
    ChannelPruningSettings,
    MaskPruningSettings,
    PruningMethod,
    prune,
)

SHAPE = (1, 12, 12)
METHODS = TypeAdapter(PruningMethod)


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return build_model(ModelSettings(name="net").spec(SHAPE, 3))


def test_the_method_decides_which_settings_there_are():
    channels = METHODS.validate_python({"method": "channels", "ratio": 0.5})
    masks = METHODS.validate_python({"method": "magnitude", "sparsity": 0.5})
    assert isinstance(channels, ChannelPruningSettings)
    assert isinstance(masks, MaskPruningSettings)
    with pytest.raises(ValidationError, match="sparsity"):
        METHODS.validate_python({"method": "channels", "ratio": 0.5, "sparsity": 0.5})


def test_masked_weights_are_held_at_zero():
    module = network()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    pruned = prune(module, SHAPE, MaskPruningSettings(method="magnitude", sparsity=0.75), seed=0)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    with torch.no_grad():
        for parameter in pruned.module.parameters():
            parameter.add_(1.0)
    pruned.hold()
    for name, mask in pruned.masks.items():
        assert torch.equal(pruned.module.get_parameter(name) == 0, ~mask)


def test_removed_channels_need_no_holding():
    chosen = ChannelPruningSettings(method="channels", ratio=0.5, round_to=2, scope="layer")
    pruned = prune(network(), SHAPE, chosen, seed=0)
    before = {name: value.clone() for name, value in pruned.module.state_dict().items()}
    pruned.hold()
    after = pruned.module.state_dict()
    assert all(torch.equal(value, before[name]) for name, value in after.items())
    assert after["conv2.weight"].shape[0] < network().conv2.out_channels
