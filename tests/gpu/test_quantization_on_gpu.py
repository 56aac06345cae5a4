import copy

import pytest
import torch
from torch import nn

from model_compression.models import ModelSpec, build_model
from model_compression.quantization import QatSettings, prepare_qat
from model_compression.quantization.qat import QatModel
from model_compression.training.hardware import exact_float32

SHAPE = (1, 12, 12)
SPEC = ModelSpec(name="resnet8", options={"width": 4}, input_shape=SHAPE, classes=3)
GRIDS = [
    {},
    {"weight_bits": 4, "grid_steps": "learned"},
    {"weight_bits": 3, "grid_steps": "codebook"},
]


def prepared(changes) -> QatModel:
    torch.manual_seed(0)
    settings = QatSettings.model_validate({"method": "qat"} | changes)
    return prepare_qat(build_model(SPEC), SHAPE, settings)


def step(model: nn.Module, device: torch.device | str, seed: int = 0) -> torch.Tensor:
    images = torch.randn(16, *SHAPE, generator=torch.Generator().manual_seed(seed)).to(device)
    labels = (torch.arange(16) % 3).to(device)
    return descend(model, images, labels)


def descend(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    loss = nn.functional.cross_entropy(model.train()(images), labels)
    loss.backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.sub_(0.01 * parameter.grad)
            parameter.grad = None
    return loss.detach()


@pytest.mark.parametrize("changes", GRIDS)
def test_training_to_a_grid_makes_the_host_wait_at_no_step(cuda, no_waiting, changes):
    model = prepared(changes).to(cuda)
    step(model, cuda)
    images = torch.randn(16, *SHAPE, device=cuda)
    labels = torch.arange(16, device=cuda) % 3
    with no_waiting():
        for _ in range(3):
            loss = descend(model, images, labels)
    assert 0 < loss.item() < 5


@pytest.mark.parametrize("changes", GRIDS)
def test_ranges_and_losses_are_those_of_the_cpu(cuda, changes):
    here = prepared(changes)
    there = copy.deepcopy(here).to(cuda)
    with exact_float32():
        for seed in range(3):
            mine, other = step(here, "cpu", seed), step(there, cuda, seed)
            assert other.item() == pytest.approx(mine.item(), rel=0.02)
    for mine, other in zip(
        here.activation_quantizers(), there.activation_quantizers(), strict=True
    ):
        assert other.high.item() == pytest.approx(mine.high.item(), rel=0.05, abs=0.02)
        # Thrice, or twice as often where two places of the network share one.
        assert other.observations.item() == mine.observations.item()
        assert other.observations.item() in (3, 6)
