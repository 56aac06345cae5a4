import string
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from model_compression.models import TensorFileError, read_tensor_file, write_tensor_file

NAMES = st.text(string.ascii_letters + "./é", min_size=1, max_size=8)
FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
DTYPES = st.sampled_from([*FLOATS, torch.int64, torch.int8, torch.uint8, torch.bool])
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    # A surrogate alone is no Unicode, so no file of UTF-8 can hold it.
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
IN_ONE_FOLDER = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60
)


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    random = torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(len(shape)))
    return random.to(draw(DTYPES)) * draw(st.sampled_from([0, 1]))


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(
        torch.equal(a[name], b[name]) and a[name].dtype == b[name].dtype for name in a
    )


@IN_ONE_FOLDER
@given(content=st.dictionaries(NAMES, tensors(), max_size=4), header=st.dictionaries(NAMES, JSON))
def test_what_is_written_is_read_back(
    tmp_path: Path, content: dict[str, Tensor], header: dict[str, Any]
) -> None:
    write_tensor_file(tmp_path / "file", content, header)
    read, read_header = read_tensor_file(tmp_path / "file")
    assert same(read, content)
    assert read_header == header


@IN_ONE_FOLDER
@given(data=st.data())
def test_no_changed_byte_goes_unnoticed(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "file"
    content, header = {"w": torch.arange(6.0), "n": torch.tensor(3)}, {"stage": "teacher"}
    write_tensor_file(path, content, header)
    original = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(original) - 1))
    original[position] ^= data.draw(st.integers(1, 255))
    path.write_bytes(original)
    try:
        read, read_header = read_tensor_file(path)
    except TensorFileError:
        return
    # Blanks that pad the file's header may become other blanks; the content can't change.
    assert same(read, content)
    assert read_header == header


@pytest.mark.parametrize("length", [0, 7, 40, -1])
def test_a_truncated_file_is_named(tmp_path: Path, length: int) -> None:
    path = tmp_path / "model.safetensors"
    write_tensor_file(path, {"w": torch.ones(5)}, {})
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(TensorFileError, match=r"model\.safetensors is truncated"):
        read_tensor_file(path)


def test_an_altered_weight_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_tensor_file(path, {"w": torch.zeros(5)}, {})
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(TensorFileError, match="has been altered since it was written"):
        read_tensor_file(path)


def test_a_safetensors_file_from_elsewhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "foreign.safetensors"
    for metadata in (None, {"format": "pt"}, {"header": "no JSON"}, {"header": "[1]"}):
        save_file({"w": torch.ones(2)}, path, metadata)
        with pytest.raises(TensorFileError, match="not one of this project"):
            read_tensor_file(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TensorFileError, match=r"nowhere isn't there"):
        read_tensor_file(tmp_path / "nowhere")


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    content = {"b": torch.ones(2), "a": torch.zeros(3, dtype=torch.int64)}
    files = set()
    for _ in range(10):
        write_tensor_file(tmp_path / "file", content, {"y": 1, "x": [2, 3]})
        files.add((tmp_path / "file").read_bytes())
    assert len(files) == 1


def test_tensors_may_share_memory_and_have_any_strides(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    content = {
        "whole": base,
        "same": base,
        "transposed": base.T,
        "part": base[1:, ::2],
        "expanded": torch.ones(1).expand(3),
        "channels_last": torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
        "trained": torch.nn.Parameter(torch.ones(2)),
    }
    write_tensor_file(tmp_path / "file", content, {})
    assert same(read_tensor_file(tmp_path / "file")[0], content)


def test_what_was_read_doesnt_change_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_tensor_file(path, {"w": torch.zeros(3)}, {})
    read = read_tensor_file(path)[0]
    with path.open("r+b") as file:
        file.seek(-12, 2)
        file.write(b"\xff" * 12)
    assert torch.equal(read["w"], torch.zeros(3))


def test_integer_keys_of_a_header_become_text_as_in_any_json(tmp_path: Path) -> None:
    write_tensor_file(tmp_path / "file", {}, {"slots": {10: "b", 2: "a"}})
    assert read_tensor_file(tmp_path / "file")[1] == {"slots": {"2": "a", "10": "b"}}


@pytest.mark.parametrize(
    ("value", "error"), [(float("nan"), ValueError), (torch.ones(1), TypeError)]
)
def test_a_header_that_is_no_json_leaves_the_old_file(
    tmp_path: Path, value: Any, error: type[Exception]
) -> None:
    write_tensor_file(tmp_path / "file", {}, {"epoch": 1})
    with pytest.raises(error):
        write_tensor_file(tmp_path / "file", {}, {"epoch": value})
    assert read_tensor_file(tmp_path / "file")[1] == {"epoch": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
