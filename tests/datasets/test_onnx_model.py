import json
from pathlib import Path

import pytest
from kedro.io import DataCatalog, DatasetError
from onnx import TensorProto, helper

from model_compression.datasets.onnx_model import OnnxModelDataset
from model_compression.deployment import OnnxModel


@pytest.fixture
def model() -> OnnxModel:
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", 1, 2, 2])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 4])
    nodes = [
        helper.make_node("Cast", ["images"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["numbers"], ["logits"]),
    ]
    proto = helper.make_model(helper.make_graph(nodes, "g", [images], [logits]))
    metadata = {"stage": "student", "fingerprint": "f", "architecture": "net"}
    helper.set_model_props(proto, {"classes": '["a","b","c","d"]', **metadata})
    return OnnxModel(proto.SerializeToString())


def test_the_catalog_saves_and_loads_a_stages_file(model: OnnxModel, tmp_path: Path) -> None:
    entry = {
        "type": "model_compression.datasets.onnx_model.OnnxModelDataset",
        "filepath": f"{tmp_path}/{{stage}}/model.onnx",
        "metadata": {"kedro-viz": {"layer": "models"}},
    }
    catalog = DataCatalog.from_config({"{stage}.onnx": entry})
    assert not catalog.exists("student.onnx")
    catalog.save("student.onnx", model)
    assert catalog.exists("student.onnx")
    assert (tmp_path / "student" / "model.onnx").read_bytes() == model.content
    assert catalog.load("student.onnx") == model


def test_a_missing_and_a_damaged_file_are_named(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    dataset = OnnxModelDataset(str(path), metadata={"a": 1})
    assert dataset.metadata == {"a": 1}
    assert "model.onnx" in str(dataset)
    with pytest.raises(DatasetError, match=r"model\.onnx isn't there"):
        dataset.load()
    path.write_bytes(b"half a fi")
    with pytest.raises(DatasetError, match=r"model\.onnx: Expected an ONNX model"):
        dataset.load()


def test_kedro_viz_shows_what_the_file_takes_and_gives(model: OnnxModel, tmp_path: Path) -> None:
    dataset = OnnxModelDataset(str(tmp_path / "model.onnx"))
    dataset.save(model)
    shown = json.loads(dataset.preview())
    assert shown["images"] == ["N", 1, 2, 2]
    assert shown["logits"] == ["N", 4]
    assert shown["classes"] == ["a", "b", "c", "d"]
    assert shown["bytes"] == (tmp_path / "model.onnx").stat().st_size
