from typing import Any, NamedTuple, Protocol

import numpy as np
import pytest
import torch
from torch import nn

from model_compression.deployment import OnnxModel, export_onnx
from model_compression.images import Normalization
from model_compression.models import ModelSettings, build_model
from model_compression.quantization import calibrate, convert, prepare_qat

CLASSES = ("top", "middle", "bottom")
INPUT_SHAPE = (1, 12, 12)


class Exported(NamedTuple):
    module: nn.Module
    """Takes normalised images."""
    model: OnnxModel


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """1000 noisy images, some with a black and a white pixel, as every batch of photos has."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 120, (1000, *INPUT_SHAPE), dtype=np.uint8)
    for row in range(len(images)):
        images[row, :, 4 * (row % 3) : 4 * (row % 3) + 4] += 120
    images[::10, 0, 0, :2] = 0, 255
    return images


@pytest.fixture(scope="session")
def normalization() -> Normalization:
    return Normalization(mean=(0.4,), std=(0.25,))


@pytest.fixture(scope="session")
def float_module(images: np.ndarray, normalization: Normalization) -> nn.Module:
    """A small residual network that has learned the images."""
    torch.manual_seed(0)
    settings = ModelSettings(name="resnet8", options={"width": 4})
    module = build_model(settings.spec(INPUT_SHAPE, len(CLASSES))).train()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9)
    for step in range(30):
        rows = np.arange(32) + 32 * (step % 30)
        batch = normalization.apply(torch.from_numpy(images[rows]))
        loss = nn.functional.cross_entropy(module(batch), torch.from_numpy(rows % 3))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return module.eval()


@pytest.fixture(scope="session")
def int8_module(
    float_module: nn.Module, images: np.ndarray, normalization: Normalization
) -> nn.Module:
    prepared = prepare_qat(float_module, INPUT_SHAPE)
    calibrate(prepared, [normalization.apply(torch.from_numpy(images))])
    return convert(prepared)


class Export(Protocol):
    def __call__(self, module: nn.Module, **changes: Any) -> OnnxModel: ...


@pytest.fixture(scope="session")
def export(normalization: Normalization) -> Export:
    """Exports a network for the images, with any argument changed."""

    def export(module: nn.Module, **changes: Any) -> OnnxModel:
        arguments = {
            "input_shape": INPUT_SHAPE,
            "normalization": normalization,
            "classes": CLASSES,
            "stage": "student",
            "fingerprint": "0123abcd",
            "architecture": "resnet8",
        }
        return export_onnx(module, **(arguments | changes))

    return export


@pytest.fixture(scope="session")
def float_export(float_module: nn.Module, export: Export) -> Exported:
    return Exported(float_module, export(float_module))


@pytest.fixture(scope="session")
def int8_export(int8_module: nn.Module, export: Export) -> Exported:
    return Exported(int8_module, export(int8_module, stage="quantized"))


@pytest.fixture(params=["float_export", "int8_export"])
def exported(request: pytest.FixtureRequest) -> Exported:
    return request.getfixturevalue(request.param)
