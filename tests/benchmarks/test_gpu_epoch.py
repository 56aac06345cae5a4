"""That the benchmark runs, on the CPU and a small network; its figures need a GPU."""

import re
import sys

import pytest
import torch
from torch import nn

from model_compression.training.execution import Execution


@pytest.fixture
def script(load):
    return load("gpu_epoch")


def test_every_contestant_takes_its_turn(script, monkeypatch):
    monkeypatch.setattr(
        script, "resnet18", lambda: nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
    )
    way = Execution("float32", channels_last=True, compiled=False, threads=1)
    recipe = script.Recipe(images=40, batch=16, way=way, device=torch.device("cpu"))
    assert recipe.steps == 2
    table = script.compare(recipe, rounds=2)
    rows = re.findall(r"^\| ([a-z, ]+) \| [\d,]+ \| [\d.]+ \([\d.]+ to [\d.]+\) \|$", table, re.M)
    assert rows == ["bare step", "product", "product, streamed", "all at once, as airbench"]


def test_the_network_is_a_resnet_18_that_keeps_small_images_whole(script):
    model = script.resnet18().eval()
    assert 11.1e6 < sum(weight.numel() for weight in model.parameters()) < 11.3e6
    shapes = []
    model.layer1.register_forward_hook(lambda *call: shapes.append(call[2].shape))
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 10)
    assert shapes == [(1, 64, 32, 32)]


def test_without_a_gpu_it_says_so(script, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu_epoch"])
    with pytest.raises(SystemExit, match="measures a GPU, and PyTorch sees none"):
        script.main()
