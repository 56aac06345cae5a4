import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor, nn

from model_compression.images import Batch
from model_compression.pruning.groups import ChannelGroup, Members
from model_compression.pruning.regularisation import (
    Regularisation,
    Regularised,
    batch_norm_scales,
    bn_scale,
    group_lasso,
)
from model_compression.training import CrossEntropy, LossOutput, Objective


def along(tensor: str, dim: int, units: int) -> Members:
    return Members(tensor, dim, torch.arange(units), torch.arange(units))


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)
    )


def group() -> ChannelGroup:
    """The four channels of ``network``'s convolution; the flattening gives each 2x2 columns."""
    return ChannelGroup(
        name="0",
        units=4,
        width=1,
        makes=(along("0.weight", 0, 4),),
        takes=(Members("4.weight", 1, torch.arange(16), torch.arange(16) // 4),),
        follows=(
            *(along(f"1.{name}", 0, 4) for name in ("weight", "bias", "running_mean")),
            along("0.bias", 0, 4),
        ),
    )


def randomised(module: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_()
    return module


def settings(**changed: object) -> Regularisation:
    values = {"penalty": "group_lasso", "strength": 0.01, "epochs": 2}
    return Regularisation.model_validate(values | changed)


def batch(epoch: int = 0) -> Batch:
    return Batch(torch.randn(5, 1, 4, 4), torch.arange(5) % 3, torch.arange(5), epoch)


def test_group_lasso_is_the_formula():
    module = randomised(network())
    arrays = {name: value.detach().double().numpy() for name, value in module.named_parameters()}
    expected = 0.0
    for unit in range(4):
        belongs = np.concatenate(
            [
                arrays["0.weight"][unit].ravel(),
                arrays["4.weight"][:, 4 * unit : 4 * unit + 4].ravel(),
                [arrays[name][unit] for name in ("0.bias", "1.weight", "1.bias")],
            ]
        )
        expected += np.sqrt(len(belongs)) * np.sqrt(np.sum(belongs**2))
    actual = group_lasso(dict(module.named_parameters()), [group()])
    assert actual.item() == pytest.approx(expected, rel=1e-6)


def test_bn_scale_is_the_sum_of_absolute_scales():
    module = randomised(network())
    scales = batch_norm_scales(module, [group()])
    assert [members.tensor for members in scales] == ["1.weight"]
    expected = np.abs(module[1].weight.detach().numpy()).sum()
    actual = bn_scale(dict(module.named_parameters()), scales)
    assert actual.item() == pytest.approx(float(expected), rel=1e-6)


@given(
    values=st.lists(
        st.floats(-10, 10, width=32).filter(lambda value: abs(value) > 1e-3), min_size=6, max_size=6
    ),
    size=st.integers(1, 5),
)
def test_units_of_all_sizes_are_pulled_equally_hard(values, size):
    weight = torch.tensor(values).repeat(size).reshape(size, 6).t().contiguous()
    weight.requires_grad_()
    groups = [ChannelGroup("w", 6, 1, (along("w", 0, 6),), (), ())]
    group_lasso({"w": weight}, groups).backward()
    pull = weight.grad.square().mean(1).sqrt()
    torch.testing.assert_close(pull, torch.ones(6), rtol=1e-4, atol=0)


def test_a_unit_that_is_zero_has_no_gradient_and_breaks_no_other():
    weight = torch.tensor([[0.0, 0.0], [3.0, 4.0]], requires_grad=True)
    groups = [ChannelGroup("w", 2, 1, (along("w", 0, 2),), (), ())]
    group_lasso({"w": weight}, groups).backward()
    expected = torch.tensor([[0.0, 0.0], [0.6, 0.8]]) * 2**0.5
    torch.testing.assert_close(weight.grad, expected)


def test_a_weight_between_two_units_belongs_to_both():
    weight = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    members = along("w", 0, 2), along("w", 1, 2)
    groups = [ChannelGroup("w", 2, 1, members[:1], members[1:], ())]
    first = 2 * np.sqrt((1 + 4) + (1 + 9))
    second = 2 * np.sqrt((9 + 16) + (4 + 16))
    assert group_lasso({"w": weight}, groups).item() == pytest.approx(first + second, rel=1e-6)


@pytest.mark.parametrize("penalty", ["group_lasso", "bn_scale"])
def test_the_penalty_is_there_for_its_epochs_only(penalty):
    module, images = network(), batch()
    chosen = settings(penalty=penalty)
    objective = Regularised(CrossEntropy(), module, [group()], chosen)
    plain = CrossEntropy()(images, module).loss
    tensors = dict(module.named_parameters())
    if penalty == "bn_scale":
        value = bn_scale(tensors, batch_norm_scales(module, [group()]))
    else:
        value = group_lasso(tensors, [group()])
    for epoch in range(2):
        output = objective(images._replace(epoch=epoch), module)
        torch.testing.assert_close(output.loss, plain + chosen.strength * value)
    assert torch.equal(objective(images._replace(epoch=2), module).loss, plain)


def test_what_the_inner_objective_says_and_learns_is_kept():
    class Learning(Objective):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3))

        def forward(self, batch: Batch, model: nn.Module) -> LossOutput:
            logits = model(batch.images) * self.scale
            return LossOutput(logits.sum(), logits, batch.labels + 1)

    inner, images, module = Learning(), batch(), network().eval()
    objective = Regularised(inner, module, [group()], settings())
    output, expected = objective(images, module), inner(images, module)
    assert torch.equal(output.logits, expected.logits)
    assert torch.equal(output.labels, images.labels + 1)
    assert [parameter for parameter in objective.parameters()] == [inner.scale]
    assert set(objective.state_dict()) == {"inner.scale"}


@pytest.mark.parametrize("penalty", ["group_lasso", "bn_scale"])
def test_training_with_the_penalty_makes_units_smaller_than_training_without(penalty):
    def trained(strength: float) -> Tensor:
        module, images = network(), batch()
        chosen = settings(penalty=penalty, strength=strength)
        objective = Regularised(CrossEntropy(), module, [group()], chosen)
        optimizer = torch.optim.SGD(module.parameters(), lr=0.05)
        for _ in range(40):
            optimizer.zero_grad()
            objective(images, module).loss.backward()
            optimizer.step()
        return module[1].weight.detach().abs().sum()

    assert trained(0.1) < 0.9 * trained(1e-12)


def test_bn_scale_without_batch_norms_says_what_to_do():
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(16, 3))
    with pytest.raises(ValueError, match=r"behind 0: set regularisation\.penalty to group_lasso"):
        Regularised(CrossEntropy(), module, [group()], settings(penalty="bn_scale"))


def test_no_groups_are_nothing_to_regularise():
    with pytest.raises(ValueError, match="set regularisation to null"):
        Regularised(CrossEntropy(), network(), [], settings())


def test_groups_of_another_network_are_refused_by_name():
    with pytest.raises(ValueError, match="tensors of the group '0' is a parameter of this network"):
        group_lasso({"other.weight": torch.ones(2, 2)}, [group()])


@pytest.mark.parametrize("changed", [{"strength": 0}, {"epochs": 0}, {"penalty": "ridge"}])
def test_impossible_settings_are_refused(changed):
    with pytest.raises(ValidationError, match=next(iter(changed))):
        settings(**changed)
