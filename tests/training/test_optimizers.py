import torch
from torch import nn

from model_compression.training.optimizers import AdamW, Sgd, build_optimizer


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 2))


def test_only_kernels_and_matrices_decay():
    model = network()
    for settings in (
        Sgd(name="sgd", learning_rate=0.1, weight_decay=0.3),
        AdamW(name="adamw", learning_rate=0.1, weight_decay=0.3),
    ):
        decayed, spared = build_optimizer(model.parameters(), settings).param_groups
        assert {p.ndim for p in decayed["params"]} == {2, 4}
        assert {p.ndim for p in spared["params"]} == {1}
        assert (decayed["weight_decay"], spared["weight_decay"]) == (0.3, 0.0)


def test_frozen_parameters_are_left_out():
    model = network()
    model[0].requires_grad_(requires_grad=False)
    optimizer = build_optimizer(model.parameters(), Sgd(name="sgd", learning_rate=0.1))
    kept = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert kept == {id(p) for p in model.parameters() if p.requires_grad}


def test_sgd_without_momentum_makes_the_plain_step():
    weight = nn.Parameter(torch.tensor([[1.0]]))
    settings = Sgd(name="sgd", learning_rate=0.5, momentum=0, weight_decay=0)
    optimizer = build_optimizer([weight], settings)
    (3 * weight).sum().backward()
    optimizer.step()
    assert weight.item() == 1.0 - 0.5 * 3
