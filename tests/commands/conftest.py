import pytest
import torch

from model_compression.deployment import OnnxModel, write_onnx
from model_compression.images import Normalization
from model_compression.models import Checkpoint, ModelSettings, build_model
from model_compression.pipelines.stage.nodes import export


@pytest.fixture(scope="session")
def exported() -> OnnxModel:
    """An untrained network, for 12x12 grey images of three classes."""
    torch.manual_seed(0)
    spec = ModelSettings(name="resnet8", options={"width": 8}).spec((1, 12, 12), 3)
    weights = build_model(spec).state_dict()
    normalization = Normalization(mean=(0.4,), std=(0.25,))
    classes = ("top", "middle", "bottom")
    return export(Checkpoint(spec, weights, "quantized", "q1", classes, normalization))


@pytest.fixture
def model(exported, tmp_path) -> OnnxModel:
    """Its file, ``model.onnx`` in the test's folder."""
    write_onnx(exported, tmp_path / "model.onnx")
    return exported
