import pytest
import torch
from torch import nn

from model_compression.deployment import OnnxRuntimeClassifier, export_onnx, require_fused
from model_compression.images import Normalization
from model_compression.models import ModelSettings, build_model
from model_compression.quantization import calibrate, convert, prepare_qat

SHAPE = (1, 12, 12)


class Mobile(nn.Module):
    """What mobile networks have and the own zoo has not."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU6())
        self.depthwise = nn.Sequential(nn.Conv2d(8, 8, 3, groups=8, bias=False), nn.BatchNorm2d(8))
        self.squeeze, self.expand = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)
        self.left, self.right = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 4, 3, padding=1)
        self.hidden, self.classifier = nn.Linear(8, 8), nn.Linear(8, 3)
        self.dropout = nn.Dropout(0.2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.hardswish(self.depthwise(4 * self.stem(x)))
        attention = self.expand(self.squeeze(x.mean((2, 3), keepdim=True)).relu())
        x = x * nn.functional.hardsigmoid(attention)
        x = torch.cat([self.left(x).relu(), self.right(x).relu()], 1)
        x = nn.functional.hardswish(self.hidden(x.mean((2, 3))))
        return self.classifier(self.dropout(x))


@pytest.mark.parametrize(("name", "layers"), [("wrn_10_1", 14), ("mobile", 8)])
def test_onnx_runtime_runs_every_layer_in_integers(name, layers):
    torch.manual_seed(0)
    normalization = Normalization(mean=(0.4,), std=(0.3,))
    images = torch.randint(0, 256, (16, *SHAPE), dtype=torch.uint8)
    batch = normalization.apply(images)
    module = Mobile() if name == "mobile" else build_model(ModelSettings(name=name).spec(SHAPE, 3))
    for _ in range(30):
        module.train()(batch)  # gives the batch norms the statistics of these images
    model = prepare_qat(module, SHAPE)
    calibrate(model, [batch])
    converted = convert(model)
    exported = export_onnx(
        converted,
        input_shape=SHAPE,
        normalization=normalization,
        classes=("a", "b", "c"),
        stage="quantized",
        fingerprint="f",
        architecture=name,
    )
    found = [node.op_type for node in exported.proto.graph.node if node.op_type in ("Conv", "Gemm")]
    assert len(found) == layers
    assert require_fused(exported).fused
    with torch.no_grad():
        expected = converted(batch).numpy()
    difference = abs(OnnxRuntimeClassifier(exported).logits(images.numpy()) - expected).max()
    assert difference < 0.05 * abs(expected).max()
