import copy
import pickle

import pytest
import torch
from torch import nn

from model_compression.models import (
    ModelSettings,
    ModelSpec,
    WholeHeads,
    build_model,
    build_with_weights,
    free_heads,
)


def spec_of(name: str, side: int) -> ModelSpec:
    return ModelSettings(name=name).spec((3, side, side), 5)


def untrained(name: str, side: int) -> nn.Module:
    """With every weight somewhere, also those that begin at zero."""
    torch.manual_seed(0)
    module = build_model(spec_of(name, side)).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return module


@pytest.mark.parametrize(
    ("name", "side"),
    # 64 pixels make maps smaller than a window, 96 and 160 such that have to be padded and shifted.
    [("vit_b_32", 64), ("swin_t", 64), ("swin_t", 96), ("swin_v2_t", 160), ("maxvit_t", 224)],
)
def test_free_heads_compute_what_the_original_does(name, side):
    module = untrained(name, side)
    freed = copy.deepcopy(module)
    free_heads(freed)
    assert any(isinstance(part, WholeHeads) for part in freed.modules())
    images = torch.randn(2, 3, side, side)
    with torch.no_grad():
        expected = module(images)
        torch.testing.assert_close(
            freed(images), expected, rtol=0, atol=1e-5 * expected.abs().max()
        )
    assert list(freed.state_dict()) == list(module.state_dict())


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("average", [True, False])
def test_free_attention_takes_masks_and_shows_its_weights_as_pytorchs_does(batch_first, average):
    torch.manual_seed(0)
    original = nn.MultiheadAttention(8, 2, batch_first=batch_first).eval()
    freed = copy.deepcopy(original)
    free_heads(freed)
    query, key = torch.randn(3, 3, 8), torch.randn(3, 3, 8)
    padding = torch.tensor([[False, False, True], [False, False, False], [False, True, False]])
    masks = [
        {},
        {"attn_mask": torch.ones(3, 3, dtype=torch.bool).triu(1)},
        {"attn_mask": torch.randn(6, 3, 3)},
        {"key_padding_mask": padding},
    ]
    for mask in masks:
        arguments = {**mask, "average_attn_weights": average}
        expected = original(query, key, key, **arguments)
        for mine, its in zip(freed(query, key, key, **arguments), expected, strict=True):
            torch.testing.assert_close(mine, its)
    assert freed(query, key, key, need_weights=False)[1] is None
    with pytest.raises(ValueError, match="Expected a batch"):
        freed(query[0], key[0], key[0])


def test_attention_with_widths_of_its_own_is_left_alone():
    for module in (
        nn.MultiheadAttention(8, 2, kdim=4),
        nn.MultiheadAttention(8, 2, add_bias_kv=True),
    ):
        free_heads(module)
        assert type(module) is nn.MultiheadAttention


def test_freed_networks_are_copied_and_pickled():
    module = untrained("swin_t", 64)
    free_heads(module)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        for again in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
            assert torch.equal(again(images), module(images))


def test_a_network_with_a_head_less_is_rebuilt_from_its_weights():
    module = untrained("vit_b_32", 64)
    weights = module.state_dict()
    path = "encoder.layers.encoder_layer_3.self_attention."
    stays = torch.arange(768) >= 64
    weights[path + "in_proj_weight"] = weights[path + "in_proj_weight"][stays.repeat(3)]
    weights[path + "in_proj_bias"] = weights[path + "in_proj_bias"][stays.repeat(3)]
    weights[path + "out_proj.weight"] = weights[path + "out_proj.weight"][:, stays]
    rebuilt = build_with_weights(spec_of("vit_b_32", 64), weights).eval()
    attention = rebuilt.encoder.layers.encoder_layer_3.self_attention
    assert (attention.num_heads, attention.embed_dim, attention.head_dim) == (11, 768, 64)
    # A head whose output nobody reads is as good as none.
    with torch.no_grad():
        module.encoder.layers.encoder_layer_3.self_attention.out_proj.weight[:, :64] = 0
        images = torch.randn(2, 3, 64, 64)
        torch.testing.assert_close(rebuilt(images), module(images), rtol=1e-4, atol=1e-4)
