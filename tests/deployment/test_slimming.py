import itertools

import numpy as np
import onnx
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from model_compression.deployment.slimming import slim

TEXT = """
    <ir_version: 10, opset_import: ["": 20, "unused": 1]>
    graph (uint8[N, 2, 4, 4] images) => (float[N, 2, 4, 4] logits)
    <
        float[2, 2, 1, 1] weight_of_block = {1, 2, 3, 4}, float[2, 2, 1, 1] other = {1, 2, 3, 4},
        float[2] bias_one = {5, 6}, float[2] bias_two = {5, 6}, float[2] unread = {7, 8},
        float[2, 2, 1, 1] a = {1, 0, 0, 1}
    >
    {
        numbers = Cast <to = 1> (images)
        first = Conv <dilations = [1, 1], strides = [1, 1], pads = [0, 0, 0, 0], group = 1>
            (numbers, weight_of_block, bias_one)
        second = Conv <strides = [1, 1], kernel_shape = [1, 1], pads = [0, 0, 0, 0]>
            (first, other, bias_two)
        forgotten = Relu (second)
        logits = Conv (second, a)
    }
"""


def parsed() -> ir.Model:
    model = ir.from_proto(onnx.parser.parse_model(TEXT))
    # The parser takes no dots in names.
    model.graph.initializers["weight_of_block"].name = "block.conv.weight"
    return model


def slimmed() -> ir.Model:
    model = parsed()
    for node in model.graph:
        node.metadata_props["pkg.torch.onnx.name_scopes"] = "['', 'blocks', 'blocks.1', 'op']"
        node.doc_string = "a stack trace"
    slim(model)
    return model


def test_a_slim_graph_computes_the_same():
    images = np.random.default_rng(0).integers(0, 256, (2, 2, 4, 4), dtype=np.uint8)
    before, after = onnx.parser.parse_model(TEXT), ir.to_proto(slimmed())
    onnx.checker.check_model(after, full_check=True)
    results = [
        ReferenceEvaluator(proto).run(None, {"images": images})[0] for proto in (before, after)
    ]
    np.testing.assert_array_equal(*results)


def test_layers_are_named_by_weight_then_by_scope_and_apart():
    layers = [node.inputs[1].name for node in slimmed().graph if node.op_type == "Conv"]
    assert layers == ["block.conv", "blocks.1", "blocks.1_2"]


def test_equal_constants_are_stored_once_but_every_layer_keeps_its_weight():
    first, second, _ = (node for node in slimmed().graph if node.op_type == "Conv")
    assert first.inputs[2] is second.inputs[2]
    assert first.inputs[1] is not second.inputs[1]


def test_the_unread_is_gone():
    model = slimmed()
    assert [node.op_type for node in model.graph] == ["Cast", "Conv", "Conv", "Conv"]
    assert len(model.graph.initializers) == 4
    assert set(model.opset_imports) == {""}
    assert not ir.to_proto(model).graph.value_info


def test_attributes_that_say_the_default_are_dropped():
    convolutions = [node for node in slimmed().graph if node.op_type == "Conv"]
    assert [list(node.attributes) for node in convolutions] == [[], [], []]


def test_more_names_than_letters_stay_short_and_differ():
    nodes = "".join(f"t{i + 1} = Relu (t{i})\n" for i in range(60))
    model = ir.from_proto(
        onnx.parser.parse_model(
            f"""
                <ir_version: 10, opset_import: ["": 20]>
                g (float[N, 2] t0) => (float[N, 2] logits) {{ {nodes} logits = Relu (t60) }}
            """
        )
    )
    slim(model)
    names = [node.outputs[0].name for node in itertools.islice(model.graph, 60)]
    assert len(set(names)) == 60
    assert max(map(len, names)) == 2


def test_a_layer_without_weight_name_or_scope_is_named_by_its_operator():
    model = parsed()
    slim(model)
    layers = [node.inputs[1].name for node in model.graph if node.op_type == "Conv"]
    assert layers == ["block.conv", "conv", "conv_2"]
