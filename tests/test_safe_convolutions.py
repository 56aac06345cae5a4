import os
import subprocess
import sys

import pytest
import torch
from torch.nn import functional

import model_compression.models  # noqa: F401 (with networks comes the guard)

PROVOKED = """
import torch

import model_compression.models

torch.set_num_threads(1)
kept = []
for turn in range(300):
    images = torch.randn(8, 4, 14, 14).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(8, 4, 1, 1).contiguous(memory_format=torch.channels_last)
    weight.requires_grad_(True)
    torch.conv2d(images, weight, stride=2).sum().backward()
    kept.append(weight.grad)
    if turn % 7 == 0:
        kept.clear()
print("alive")
"""


def test_a_narrow_shortcut_is_trained_without_writing_beyond_its_memory():
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    process = subprocess.run(
        [sys.executable, "-c", PROVOKED],
        check=False,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert (process.returncode, process.stdout) == (0, "alive\n"), process.stderr


@pytest.mark.parametrize("channels", [1, 4, 8])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_gradients_are_a_convolutions(channels, layout):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(3, channels, 9, 9, generator=generator).to(memory_format=layout)
    weight = torch.randn(6, channels, 1, 1, generator=generator).to(memory_format=layout)
    images.requires_grad_(True)
    weight.requires_grad_(True)
    bias = torch.zeros(6, requires_grad=True)
    seen = functional.conv2d(images, weight, bias, stride=2)
    as_product = torch.einsum("nchw,oc->nohw", images[:, :, ::2, ::2], weight[:, :, 0, 0])
    torch.testing.assert_close(seen, as_product)
    asked = (images, weight, bias)
    gradients = torch.autograd.grad(seen.square().sum(), asked)
    expected = torch.autograd.grad((as_product + bias[:, None, None]).square().sum(), asked)
    torch.testing.assert_close(gradients, expected)
    assert [each.stride() for each in gradients] == [each.stride() for each in asked]


def test_frozen_weights_have_no_gradient():
    images = torch.randn(2, 4, 6, 6, requires_grad=True)
    weight = torch.randn(6, 4, 1, 1)
    functional.conv2d(images, weight, stride=2).sum().backward()
    assert weight.grad is None
    assert images.grad is not None
