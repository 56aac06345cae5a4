import pytest
from kedro.io import DataCatalog, DatasetError
from onnx import TensorProto, helper

from model_compression.datasets import OnnxModelFolderDataset
from model_compression.deployment import OnnxModel


def model(stage: str) -> OnnxModel:
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", 1, 2, 2])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 4])
    nodes = [
        helper.make_node("Cast", ["images"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["numbers"], ["logits"]),
    ]
    proto = helper.make_model(helper.make_graph(nodes, "g", [images], [logits]))
    metadata = {"stage": stage, "fingerprint": f"of {stage}", "architecture": "net"}
    helper.set_model_props(proto, {"classes": '["a","b","c","d"]', **metadata})
    return OnnxModel(proto.SerializeToString())


def test_the_catalog_saves_files_by_name_that_any_onnx_tool_finds(tmp_path):
    entry = {
        "type": "model_compression.datasets.OnnxModelFolderDataset",
        "filepath": str(tmp_path / "onnx"),
    }
    catalog = DataCatalog.from_config({"ablation.onnx": entry})
    known = catalog.load("ablation.onnx")
    catalog.save("ablation.onnx", {"plain-seed0": model("a")})
    catalog.save("ablation.onnx", {"pruning-seed0": model("b")})
    assert {name: each.fingerprint for name, each in known.items()} == {
        "plain-seed0": "of a",
        "pruning-seed0": "of b",
    }
    assert (tmp_path / "onnx" / "plain-seed0.onnx").read_bytes() == model("a").content


def test_a_damaged_file_is_named_and_a_name_that_leads_elsewhere_refused(tmp_path):
    dataset = OnnxModelFolderDataset(str(tmp_path / "onnx"))
    dataset.save({"good": model("a")})
    (tmp_path / "onnx" / "bad.onnx").write_bytes(b"half a fi")
    with pytest.raises(ValueError, match=r"bad\.onnx"):
        dataset.load()["bad"]
    with pytest.raises(DatasetError, match="can't be the name of a file"):
        dataset.save({"../out": model("a")})
