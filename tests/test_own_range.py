import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from model_compression.own_range import ROUND_BY_OWN_RANGE, round_by_own_range


@pytest.fixture(scope="module")
def onnx_runtime():
    """What ONNX Runtime makes of a vector by quantizing it dynamically, and back."""
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in "xy"]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:])
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=onnx.IR_VERSION_2023_5_5
    )
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return lambda x: session.run(None, {"x": x.numpy()})[0]


@pytest.mark.parametrize("shift", [-9.0, -1.0, 0.0, 0.3, 40.0])
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e4])
def test_every_bit_is_what_onnx_runtime_gives(onnx_runtime, shift, size):
    generator = torch.Generator().manual_seed(int(size * 1000))
    x = size * (torch.randn(5000, generator=generator) + shift)
    np.testing.assert_array_equal(round_by_own_range(x).numpy(), onnx_runtime(x))


def test_nothing_but_zeros_stays_zeros(onnx_runtime):
    x = torch.zeros(7)
    assert torch.equal(round_by_own_range(x), x)
    np.testing.assert_array_equal(onnx_runtime(x), x.numpy())


def test_ties_go_to_the_even_integer(onnx_runtime):
    x = torch.tensor([0.0, 255.0, 0.5, 1.5, 2.5, 100.5])
    assert round_by_own_range(x).tolist() == [0, 255, 0, 2, 2, 100]
    np.testing.assert_array_equal(round_by_own_range(x).numpy(), onnx_runtime(x))


@pytest.mark.parametrize(("low", "zero_point"), [(-0.5, 0), (-1.5, 2), (-2.5, 2)])
def test_the_zero_points_ties_do_so_too(onnx_runtime, low, zero_point):
    # One step is 1, so the smallest number that is left is the zero point's.
    x = torch.tensor([low, low + 255.0])
    assert round_by_own_range(x).min().item() == -zero_point
    np.testing.assert_array_equal(round_by_own_range(x).numpy(), onnx_runtime(x))


def test_the_range_holds_0_however_far_off_the_values_are():
    assert torch.equal(round_by_own_range(torch.tensor([3.0, 3.0])), torch.tensor([3.0, 3.0]))
    x = torch.tensor([1000.0, 1001.0])
    assert (round_by_own_range(x) - x).abs().max() > 0.1  # a step is 1001 / 255


def test_the_range_is_one_over_the_whole_tensor():
    small = torch.tensor([[0.011, 0.013]])
    alone, beside = round_by_own_range(small), round_by_own_range(torch.cat([small, 300 * small]))
    assert (alone - small).abs().max() < 1e-4
    assert torch.equal(beside[0], torch.tensor([beside[0, 0]] * 2))


def test_as_an_operator_it_is_in_a_graph_whole():
    class Rounds(torch.nn.Module):
        def forward(self, x):
            return torch.ops.model_compression.round_by_own_range(x)

    x = torch.randn(3, 4)
    program = torch.export.export(Rounds(), (x,))
    assert [node.target for node in program.graph.nodes if node.op == "call_function"] == [
        ROUND_BY_OWN_RANGE
    ]
    assert torch.equal(program.module()(x), round_by_own_range(x))
