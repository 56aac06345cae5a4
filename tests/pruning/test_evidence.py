import pytest
import torch
from torch import nn
from torch.nn import functional

from model_compression.images import Batch
from model_compression.models import ModelSettings, build_model
from model_compression.pruning import gather

SHAPE = (1, 12, 12)


def network() -> nn.Module:
    torch.manual_seed(0)
    return build_model(ModelSettings(name="resnet8").spec(SHAPE, 3))


def batch(count: int, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, *SHAPE, generator=generator)
    return Batch(images, torch.arange(count) % 3, torch.arange(count), 0)


def test_gradients_are_those_of_the_mean_over_all_images_whatever_the_batches():
    module, images = network().eval(), batch(7)
    parts = [
        Batch(*(tensor[part] for tensor in images[:3]), 0) for part in (slice(0, 3), slice(3, 7))
    ]
    loss = functional.cross_entropy(module(images.images), images.labels)
    expected = torch.autograd.grad(loss, list(module.parameters()))
    seen = gather(module, parts, ["gradients"]).gradients
    for name, gradient in zip(dict(module.named_parameters()), expected, strict=True):
        torch.testing.assert_close(seen[name], gradient, rtol=1e-3, atol=1e-6)


def test_squared_gradients_are_means_over_single_images():
    module, images = network().eval(), batch(4)
    total = {name: torch.zeros_like(each) for name, each in module.named_parameters()}
    for image, label in zip(images.images, images.labels, strict=True):
        loss = functional.cross_entropy(module(image[None]), label[None])
        for name, one in zip(
            total, torch.autograd.grad(loss, list(module.parameters())), strict=True
        ):
            total[name] += one**2 / 4
    seen = gather(module, [images], ["squared_gradients"]).squared_gradients
    for name, expected in total.items():
        torch.testing.assert_close(seen[name], expected)


def test_norms_are_of_what_enters_each_layer_by_channel():
    module, images = network().eval(), batch(5)
    seen = gather(module, [images], ["input_norms"]).input_norms
    torch.testing.assert_close(seen["stem"], images.images.square().sum((0, 2, 3)).sqrt())
    entered = []
    handle = module.classifier.register_forward_pre_hook(
        lambda _, inputs: entered.append(inputs[0])
    )
    module(images.images)
    handle.remove()
    torch.testing.assert_close(seen["classifier"], entered[0].square().sum(0).sqrt())


def test_only_what_is_asked_for_is_gathered_and_the_network_is_left_as_it_is():
    module = network().train()
    module.stem.weight.requires_grad_(False)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with torch.no_grad():
        seen = gather(module, [batch(3)], ["input_norms", "gradients"])
    assert set(seen.gradients) == set(dict(module.named_parameters()))
    assert not seen.squared_gradients
    assert module.training
    assert not module.stem.weight.requires_grad
    assert all(parameter.grad is None for parameter in module.parameters())
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_no_images_are_refused():
    with pytest.raises(ValueError, match="at least one image"):
        gather(network(), [], ["gradients"])
