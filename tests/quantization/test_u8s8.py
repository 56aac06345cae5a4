import pytest
import torch
from torch import nn
from torch.fx import GraphModule, Node

from model_compression.models import ModelSettings, build_model
from model_compression.quantization.capture import aten
from model_compression.quantization.qat import calibrate, convert, prepare_qat
from model_compression.quantization.settings import QatSettings, StaticSettings, WeightSettings

LAYERS = (aten.conv1d.default, aten.conv2d.default, aten.linear.default)


def quantized(
    module: nn.Module, shape: tuple[int, int, int], settings: WeightSettings | None = None
) -> GraphModule:
    model = prepare_qat(module, shape, settings)
    calibrate(model, [torch.randn(4, *shape)])
    return convert(model)


def is_dequantized(node: object) -> bool:
    return isinstance(node, Node) and "dequantize_per" in str(node.target)


def is_quantized_after(node: Node) -> bool:
    """Whether the output goes, through an activation function at most, into one quantizer."""
    users = list(node.users)
    if len(users) == 1 and users[0].target in (aten.relu.default, aten.hardtanh.default):
        users = list(users[0].users)
    return len(users) == 1 and "quantize_per_tensor" in str(users[0].target)


def nodes(graph_module: GraphModule, *wanted: object) -> list[Node]:
    return [node for node in graph_module.graph.nodes if node.target in wanted]


def scale_of(dequantize: object) -> object:
    assert isinstance(dequantize, Node)
    return dequantize.args[1:3]


@pytest.mark.parametrize(
    ("name", "shape", "layers"),
    [
        ("net", (1, 12, 12), 5),
        ("resnet8", (1, 8, 8), 10),
        ("wrn_10_1", (1, 8, 8), 10 + 4),  # four batch norms that follow no convolution
    ],
)
def test_every_layer_is_quantized_on_all_sides(name, shape, layers):
    module = build_model(ModelSettings(name=name).spec(shape, 10))
    found = nodes(quantized(module, shape), *LAYERS)
    assert len(found) == layers
    for layer in found:
        assert is_dequantized(layer.args[0]), f"input of {layer}"
        assert is_dequantized(layer.args[1]), f"weight of {layer}"
    assert [is_quantized_after(layer) for layer in found] == [True] * (layers - 1) + [False]


@pytest.mark.parametrize(
    "settings",
    [
        QatSettings(activation_grid="symmetric"),
        StaticSettings(method="static", activation_grid="symmetric"),
    ],
)
def test_symmetric_activations_have_zero_at_an_end_or_in_the_middle_and_images_are_bytes(settings):
    module = build_model(ModelSettings(name="resnet8").spec((1, 8, 8), 10))
    graph_module = quantized(module, (1, 8, 8), settings)
    (images,) = (node for node in graph_module.graph.nodes if node.op == "placeholder")
    zero_points: dict[bool, set[object]] = {True: set(), False: set()}
    for node in graph_module.graph.nodes:
        if "quantized_decomposed.quantize_per_tensor" in str(node.target):
            zero_points[node.args[0] is images].add(node.args[2])
    assert zero_points[False] == {0, 128}
    assert zero_points[True].isdisjoint({0, 128})


def test_images_that_a_dropout_reads_are_bytes_too():
    module = nn.Sequential(nn.Dropout(0.1), nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 3))
    graph_module = quantized(module, (1, 8, 8), QatSettings(activation_grid="symmetric"))
    (images,) = (node for node in graph_module.graph.nodes if node.op == "placeholder")
    zero_points = {user.args[2] for user in images.users}
    assert zero_points.isdisjoint({0, 128})


def test_weights_are_signed_a_channel_and_activations_unsigned_a_tensor():
    module = build_model(ModelSettings(name="resnet8").spec((1, 8, 8), 10))
    graph_module = quantized(module, (1, 8, 8))
    for layer in nodes(graph_module, aten.conv2d.default):
        source, weight = layer.args[:2]
        assert source.args[-1] == torch.uint8
        assert source.args[3:5] == (0, 255)
        assert weight.args[-1] == torch.int8
        stored = graph_module.get_buffer(weight.args[0].target)
        assert stored.dtype == torch.int8
        assert graph_module.get_buffer(weight.args[1].target).shape == stored.shape[:1]


def test_the_spatial_mean_has_a_scale_of_its_own_on_each_side():
    module = build_model(ModelSettings(name="resnet8").spec((1, 8, 8), 10))
    (pool,) = nodes(quantized(module, (1, 8, 8)), aten.adaptive_avg_pool2d.default)
    (quantize,) = pool.users
    assert is_dequantized(pool.args[0])
    assert is_quantized_after(pool)
    assert scale_of(pool.args[0]) != quantize.args[1:3]


def test_additions_are_quantized_with_their_relu():
    module = build_model(ModelSettings(name="resnet8").spec((1, 8, 8), 10))
    additions = nodes(quantized(module, (1, 8, 8)), aten.add.Tensor)
    assert len(additions) == 3
    for addition in additions:
        assert all(is_dequantized(operand) for operand in addition.args[:2])
        assert is_quantized_after(addition)


def test_max_pooling_and_flattening_keep_the_scale_of_their_input():
    module = build_model(ModelSettings(name="net").spec((1, 12, 12), 10))
    found = nodes(
        quantized(module, (1, 12, 12)),
        aten.max_pool2d.default,
        aten.flatten.using_ints,
        aten.reshape.default,
    )
    assert len(found) == 3
    for node in found:
        (quantize,) = node.users
        assert scale_of(node.args[0]) == quantize.args[1:3]


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(1, 2, 3)
        self.right = nn.Conv2d(1, 2, 3)
        self.offset = nn.Parameter(torch.ones(4, 1, 1))
        self.dropout = nn.Dropout(0.5)
        self.classifier = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.cat([nn.functional.relu(self.left(x)), self.right(x)], 1)
        x = nn.functional.hardswish(x + self.offset) + 1.0
        return self.classifier(self.dropout(nn.functional.relu(x.mean((2, 3)))))


def test_a_concatenation_is_quantized_and_a_constant_is_added_in_float():
    graph_module = quantized(Branches(), (1, 6, 6))
    (concatenation,) = nodes(graph_module, aten.cat.default)
    assert all(is_dequantized(operand) for operand in concatenation.args[0])
    assert is_quantized_after(concatenation)
    first, second = nodes(graph_module, aten.add.Tensor)
    assert not is_quantized_after(first)
    assert not is_dequantized(second.args[0])


def test_what_dropout_does_in_training_never_reaches_a_range():
    model = prepare_qat(Branches(), (1, 6, 6))
    graph = model.prepared.graph
    (dropout,) = [node for node in graph.nodes if node.target is aten.dropout.default]
    assert dropout.args[0].op == "call_module"
    assert [user.target for user in dropout.users] == [aten.linear.default]


def test_a_dropout_after_a_quantized_output_adds_nothing():
    class Dropping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = nn.functional.dropout(
                nn.functional.relu(self.first(x.flatten(1))), training=self.training
            )
            return nn.functional.dropout(self.second(x), training=self.training)

    graph_module = quantized(Dropping(), (1, 2, 2))
    first, second = nodes(graph_module, aten.linear.default)
    assert is_quantized_after(first)
    assert is_dequantized(second.args[0])
    assert not is_quantized_after(second)
    assert len(nodes(graph_module, aten.dropout.default)) == 0


def test_one_activation_that_feeds_several_layers_is_rounded_once():
    class Fork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Conv2d(1, 2, 3), nn.Conv2d(1, 2, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = nn.functional.hardswish(x)
            return (self.left(x) * self.right(x)).flatten(1)

    left, right = nodes(quantized(Fork(), (1, 4, 4)), aten.conv2d.default)
    assert scale_of(left.args[0]) == scale_of(right.args[0])


def test_a_weight_that_is_computed_stays_float():
    class Computed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(3, 4))
            self.inner = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.linear(self.inner(x.flatten(1)), self.weight * 2)

    inner, outer = nodes(quantized(Computed(), (1, 2, 2)), aten.linear.default)
    assert is_dequantized(inner.args[1])
    assert not is_dequantized(outer.args[1])
