import numpy as np
import pytest
import torch
from torch import nn

from model_compression.images import Batch
from model_compression.models import ModelSettings, build_model
from model_compression.pruning import ChannelGroup, channel_groups, gather
from model_compression.pruning.channel_importance import needs, unit_scores

SHAPE = (1, 12, 12)
IMPORTANCES = ["l1", "l2", "lamp", "fpgm", "bn_scale", "taylor", "hessian", "random"]


def scores(module, group, importance, evidence=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return unit_scores(module, group, importance, evidence, generator)


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    return build_model(ModelSettings(name="net").spec(SHAPE, 3)).eval()


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    torch.manual_seed(0)
    return build_model(ModelSettings(name="resnet8").spec(SHAPE, 3)).eval()


def group_named(module: nn.Module, name: str) -> ChannelGroup:
    return next(group for group in channel_groups(module, SHAPE) if group.name == name)


def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(6, *SHAPE, generator=generator)
    return Batch(images, torch.arange(6) % 3, torch.arange(6), 0)


def rows_and_columns(net) -> tuple[np.ndarray, np.ndarray]:
    return net.linear1.weight.detach().numpy(), net.linear2.weight.detach().numpy()


@pytest.mark.parametrize("p", [1, 2])
def test_norms_are_those_of_the_formula(net, p):
    rows, columns = rows_and_columns(net)
    own = (np.linalg.norm(rows, p, axis=1) + np.linalg.norm(columns, p, axis=0)) / 2
    got = scores(net, group_named(net, "linear1"), f"l{p}")
    np.testing.assert_allclose(got, own / own.mean(), rtol=1e-5)


def test_lamp_is_that_of_the_formula(net):
    rows, columns = rows_and_columns(net)
    squares = ((np.linalg.norm(rows, axis=1) + np.linalg.norm(columns, axis=0)) / 2) ** 2
    expected = [square / squares[squares >= square].sum() for square in squares]
    got = scores(net, group_named(net, "linear1"), "lamp")
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    assert got.max() == pytest.approx(1)


def test_fpgm_is_the_sum_of_distances_to_the_other_filters(net):
    rows, _ = rows_and_columns(net)
    distances = np.linalg.norm(rows[:, None] - rows[None], axis=2).sum(1)
    got = scores(net, group_named(net, "linear1"), "fpgm")
    np.testing.assert_allclose(got, distances / distances.mean(), rtol=1e-5)


def test_scales_are_those_of_the_norms_that_follow(resnet):
    resnet.stages[0][0].norm1.weight.data.copy_(torch.arange(-8.0, 8.0))
    got = scores(resnet, group_named(resnet, "stages.0.0.conv1"), "bn_scale")
    assert got.tolist() == list(range(8, 0, -1)) + list(range(8))


def test_a_group_without_norms_has_no_scales(net):
    assert scores(net, group_named(net, "linear1"), "bn_scale") is None


class Gates(nn.Module):
    """Multiplies what leaves a layer by ones whose gradients can be asked for."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.ones(width))

    def hook(self, layer, inputs, output):
        return output * self.gate.view(1, -1, *[1] * (output.ndim - 2))


def test_taylor_is_what_a_gate_on_the_activation_has(resnet):
    seen, group = batch(), group_named(resnet, "stages.0.0.conv1")
    evidence = gather(resnet, [seen], ["gradients"])
    gates = Gates(16)
    handle = resnet.stages[0][0].relu1.register_forward_hook(gates.hook)
    loss = nn.functional.cross_entropy(resnet(seen.images), seen.labels)
    (expected,) = torch.autograd.grad(loss, gates.gate)
    handle.remove()
    got = scores(resnet, group, "taylor", evidence)
    torch.testing.assert_close(got, expected.abs(), rtol=1e-3, atol=1e-6)


def test_hessian_is_half_the_fisher_times_the_squared_weights(net):
    evidence = gather(net, [batch()], ["squared_gradients"])
    fisher = evidence.squared_gradients["linear2.weight"].numpy()
    _, columns = rows_and_columns(net)
    got = scores(net, group_named(net, "linear1"), "hessian", evidence)
    np.testing.assert_allclose(got, (fisher * columns**2).sum(0) / 2, rtol=1e-4)


@pytest.mark.parametrize("importance", ["taylor", "hessian"])
def test_missing_evidence_is_asked_for(net, importance):
    with pytest.raises(ValueError, match=r"needs .*gradients of 'linear2.weight'.*gather"):
        scores(net, group_named(net, "linear1"), importance)


def test_chance_comes_from_the_generator_alone(net):
    group = group_named(net, "linear1")
    assert torch.equal(scores(net, group, "random"), scores(net, group, "random"))
    assert not torch.equal(scores(net, group, "random"), scores(net, group, "random", seed=1))


@pytest.mark.parametrize("importance", IMPORTANCES)
def test_scores_are_finite_and_one_a_unit_even_of_a_dead_network(importance):
    module = build_model(ModelSettings(name="resnet8").spec(SHAPE, 3)).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    evidence = gather(module, [batch()], needs(importance)) if needs(importance) else None
    for group in channel_groups(module, SHAPE):
        got = scores(module, group, importance, evidence)
        assert got.shape == (group.units,)
        assert got.isfinite().all()
        assert (got >= 0).all()


@pytest.mark.parametrize("importance", [each for each in IMPORTANCES if each != "random"])
def test_units_are_scored_alike_in_any_order(importance):
    torch.manual_seed(0)
    module = build_model(ModelSettings(name="resnet8").spec(SHAPE, 3)).eval()
    group = group_named(module, "stages.1.0.conv1")
    evidence = gather(module, [batch()], needs(importance)) if needs(importance) else None
    before = scores(module, group, importance, evidence)
    order = torch.randperm(group.units)
    weights = module.state_dict()
    for members in group.members:
        weights[members.tensor].copy_(weights[members.tensor].index_select(members.dim, order))
    evidence = gather(module, [batch()], needs(importance)) if needs(importance) else None
    after = scores(module, group, importance, evidence)
    torch.testing.assert_close(after, before[order], rtol=1e-3, atol=1e-5)
