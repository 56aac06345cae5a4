from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from model_compression.deployment import OnnxModel, OnnxModelError, read_onnx, write_onnx

METADATA = {"classes": '["a","ä b"]', "stage": "student", "fingerprint": "f", "architecture": "net"}


def content(
    *,
    input_name: str = "images",
    input_type: int = TensorProto.UINT8,
    input_shape: tuple = ("N", 1, 2, 2),
    output_name: str = "logits",
    output_type: int = TensorProto.FLOAT,
    output_shape: tuple = ("N", 2),
    metadata: dict = METADATA,
) -> bytes:
    images = helper.make_tensor_value_info(input_name, input_type, list(input_shape))
    logits = helper.make_tensor_value_info(output_name, output_type, list(output_shape))
    cast = helper.make_node("Cast", [input_name], [output_name], to=output_type)
    model = helper.make_model(helper.make_graph([cast], "g", [images], [logits]))
    helper.set_model_props(model, metadata)
    return model.SerializeToString()


def test_a_file_says_what_it_is():
    model = OnnxModel(content())
    assert model.classes == ("a", "ä b")
    assert (model.stage, model.fingerprint, model.architecture) == ("student", "f", "net")
    assert model.input_shape == (1, 2, 2)
    assert model.size == len(model.content)


def test_what_is_written_is_read_byte_by_byte(tmp_path: Path):
    model = OnnxModel(content())
    path = tmp_path / "new" / "model.onnx"
    write_onnx(model, path)
    assert path.read_bytes() == model.content
    assert read_onnx(path) == model


@pytest.mark.parametrize(
    "changes",
    [
        {"input_name": "x"},
        {"input_type": TensorProto.FLOAT},
        {"input_shape": (1, 1, 2, 2)},
        {"input_shape": ("N", 1, 2)},
        {"input_shape": ("N", 1, "H", "W")},
    ],
)
def test_another_input_than_bytes_of_one_size_is_refused(changes: dict):
    with pytest.raises(OnnxModelError, match=r"one input 'images', uint8.*; got '"):
        OnnxModel(content(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"output_name": "y"},
        {"output_type": TensorProto.DOUBLE},
        {"output_shape": ("N", 3)},
        {"output_shape": (1, 2)},
    ],
)
def test_another_output_than_a_logit_a_class_is_refused(changes: dict):
    with pytest.raises(OnnxModelError, match=r"one output 'logits', float32, \(N, 2\).*; got '"):
        OnnxModel(content(**changes))


@pytest.mark.parametrize("key", METADATA)
def test_a_file_that_does_not_say_what_it_is_is_refused(key: str):
    metadata = {name: value for name, value in METADATA.items() if name != key}
    with pytest.raises(OnnxModelError, match=rf"\['{key}'\] is missing"):
        OnnxModel(content(metadata=metadata))


@pytest.mark.parametrize(("classes", "message"), [("a, b", "no JSON"), ("[1]", "list of names")])
def test_unreadable_class_names_are_refused(classes: str, message: str):
    with pytest.raises(OnnxModelError, match=message):
        OnnxModel(content(metadata=METADATA | {"classes": classes}))


def test_an_empty_model_is_refused():
    with pytest.raises(OnnxModelError, match=r"one input 'images', .* got none"):
        OnnxModel(onnx.ModelProto().SerializeToString())


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"no onnx at all", bytes])
def test_a_damaged_file_is_named(tmp_path: Path, damage):
    path = tmp_path / "model.onnx"
    path.write_bytes(damage(content()) if damage is not bytes else b"")
    with pytest.raises(OnnxModelError, match=r"model\.onnx: Expected"):
        read_onnx(path)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"model\.onnx isn't there"):
        read_onnx(tmp_path / "model.onnx")
