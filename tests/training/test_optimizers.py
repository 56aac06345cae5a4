import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from model_compression.training import optimizers
from model_compression.training.optimizers import (
    AdamW,
    Sgd,
    build_optimizer,
    can_be_fused,
    load_optimizer,
    optimizer_state,
)

SGD = Sgd(name="sgd", learning_rate=0.1)
ADAMW = AdamW(name="adamw", learning_rate=0.1)


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


def test_only_what_lies_on_a_gpu_is_fused():
    def parameter(device: str, dtype: torch.dtype = torch.float32):
        floating = dtype.is_floating_point
        return SimpleNamespace(device=torch.device(device), is_floating_point=lambda: floating)

    assert can_be_fused([parameter("cuda"), parameter("cuda:0")])
    assert not can_be_fused([parameter("cuda"), parameter("cpu")])
    assert not can_be_fused([parameter("cuda", torch.int64)])
    assert not can_be_fused([])
    model = network()
    assert build_optimizer(model.parameters(), SGD).param_groups[0]["fused"] is None


def trained(optimizer: torch.optim.Optimizer, model: nn.Module, steps: int) -> list[torch.Tensor]:
    """Steps of which only the third and later ones reach the last layer."""
    for step in range(steps):
        for number, parameter in enumerate(model.parameters()):
            late = step < 2 and parameter.ndim == 2
            parameter.grad = None if late else torch.full_like(parameter, 0.1 * (number + step))
        optimizer.step()
    return [parameter.detach().clone() for parameter in model.parameters()]


@pytest.mark.parametrize("settings", [SGD, Sgd(name="sgd", learning_rate=0.1, momentum=0), ADAMW])
def test_a_fused_optimizer_learns_the_same_even_where_gradients_come_late(settings, monkeypatch):
    plain, fused = network(), network()
    fused.load_state_dict(plain.state_dict())
    expected = trained(build_optimizer(plain.parameters(), settings), plain, 4)
    monkeypatch.setattr(optimizers, "can_be_fused", lambda parameters: True)
    optimizer = build_optimizer(fused.parameters(), settings)
    assert optimizer.param_groups[0]["fused"] is True
    torch.testing.assert_close(trained(optimizer, fused, 4), expected)


@pytest.mark.parametrize("settings", [SGD, ADAMW])
@pytest.mark.parametrize("was_fused", [True, False])
def test_an_optimizer_goes_on_in_its_own_way_of_computing(settings, was_fused, monkeypatch):
    model = network()
    monkeypatch.setattr(optimizers, "can_be_fused", lambda parameters: was_fused)
    first = build_optimizer(model.parameters(), settings)
    trained(first, model, 1)
    first.param_groups[0]["lr"] = 0.03
    state = optimizer_state(first)
    before = copy.deepcopy(state)
    monkeypatch.setattr(optimizers, "can_be_fused", lambda parameters: not was_fused)
    other = copy.deepcopy(model)
    second = build_optimizer(other.parameters(), settings)
    load_optimizer(second, state)
    assert second.param_groups[0]["lr"] == 0.03
    assert second.param_groups[0]["fused"] is (None if was_fused else True)
    torch.testing.assert_close(trained(second, other, 4), trained(first, model, 4))
    torch.testing.assert_close(state, before, rtol=0, atol=0)


def test_an_optimizers_state_is_a_copy():
    model = network()
    optimizer = build_optimizer(model.parameters(), SGD)
    trained(optimizer, model, 3)
    state = optimizer_state(optimizer)
    before = copy.deepcopy(state)
    trained(optimizer, model, 1)
    optimizer.param_groups[0]["lr"] = 7.0
    torch.testing.assert_close(state, before, rtol=0, atol=0)
