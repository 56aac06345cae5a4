"""A deployable file: ONNX bytes that say themselves what they are.

Knows the contract of the project's files (bytes in, logits out); not how they are made or run.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, ValueInfoProto

from model_compression.files import atomic_write

INPUT_NAME = "images"
OUTPUT_NAME = "logits"
_KEYS = ("classes", "stage", "fingerprint", "architecture")
_EXPORT_AGAIN = "Export the stage again, or give a file that this project has written."


class OnnxModelError(ValueError):
    """An ONNX file that is damaged or does not keep the contract of a deployable."""


@dataclass(frozen=True)
class OnnxModel:
    """One input ``images``, uint8, (N, C, H, W); one output ``logits``, float32, (N, classes).

    Scaling and normalisation are inside the graph. Construction checks all this.

    Raises:
        OnnxModelError: If the bytes are no ONNX model, or one that departs from the contract.
    """

    content: bytes
    """The file, byte by byte."""

    def __post_init__(self) -> None:
        _check_input(self.proto.graph)
        _check_output(self.proto.graph, len(self.classes))

    @cached_property
    def proto(self) -> onnx.ModelProto:
        """The parsed model; treat it as read-only, ``content`` is what counts."""
        try:
            return onnx.load_model_from_string(self.content)
        except DecodeError as error:
            raise OnnxModelError(
                f"Expected an ONNX model; {len(self.content)} bytes that are none came: they are "
                f"empty, truncated or something else. {_EXPORT_AGAIN}"
            ) from error

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return len(self.content)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the logits."""
        try:
            names = json.loads(self._metadata["classes"])
        except json.JSONDecodeError as error:
            raise OnnxModelError(f"Its metadata 'classes' is no JSON: {error}.") from error
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise OnnxModelError(f"Expected a JSON list of names as 'classes'; got {names!r}.")
        return tuple(names)

    @property
    def stage(self) -> str:
        """The stage that made it, such as ``student``."""
        return self._metadata["stage"]

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the checkpoint that it was exported from."""
        return self._metadata["fingerprint"]

    @property
    def architecture(self) -> str:
        """The network's name, such as ``resnet8``."""
        return self._metadata["architecture"]

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the images that it takes."""
        channels, height, width = _sizes(self.proto.graph.input[0])[1:]
        return channels, height, width

    @cached_property
    def _metadata(self) -> dict[str, str]:
        metadata = {entry.key: entry.value for entry in self.proto.metadata_props}
        missing = [key for key in _KEYS if key not in metadata]
        if missing:
            raise OnnxModelError(
                f"Expected metadata {list(_KEYS)} in the ONNX model; {missing} is missing. "
                f"{_EXPORT_AGAIN}"
            )
        return metadata


def write_onnx(model: OnnxModel, path: Path) -> None:
    """Writes the file, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(model.content)


def read_onnx(path: Path) -> OnnxModel:
    """Reads a file and checks that it keeps the contract.

    Raises:
        FileNotFoundError: If there is none.
        OnnxModelError: If it is damaged or not a deployable of this project; names the file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} isn't there: run the stage that writes it.")
    content = path.read_bytes()
    try:
        return OnnxModel(content)
    except OnnxModelError as error:
        raise OnnxModelError(f"{path}: {error}") from error


def _check_input(graph: onnx.GraphProto) -> None:
    learned = {constant.name for constant in graph.initializer}
    inputs = [value for value in graph.input if value.name not in learned]
    sizes = _sizes(inputs[0]) if inputs else []
    if (
        [value.name for value in inputs] != [INPUT_NAME]
        or inputs[0].type.tensor_type.elem_type != TensorProto.UINT8
        or len(sizes) != 4
        or sizes[0] != 0
        or 0 in sizes[1:]
    ):
        raise OnnxModelError(
            f"Expected one input {INPUT_NAME!r}, uint8, (N, C, H, W) with a free N and a fixed "
            f"C, H, W; got {_described(inputs)}. {_EXPORT_AGAIN}"
        )


def _check_output(graph: onnx.GraphProto, classes: int) -> None:
    outputs = list(graph.output)
    if (
        [value.name for value in outputs] != [OUTPUT_NAME]
        or outputs[0].type.tensor_type.elem_type != TensorProto.FLOAT
        or _sizes(outputs[0]) != [0, classes]
    ):
        raise OnnxModelError(
            f"Expected one output {OUTPUT_NAME!r}, float32, (N, {classes}), one number per class; "
            f"got {_described(outputs)}. {_EXPORT_AGAIN}"
        )


def _sizes(value: ValueInfoProto) -> list[int]:
    """The dimensions; 0 for a free one."""
    return [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]


def _described(values: list[ValueInfoProto]) -> str:
    return (
        ", ".join(
            f"{value.name!r} {TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower()} "
            f"({', '.join(str(size or 'N') for size in _sizes(value))})"
            for value in values
        )
        or "none"
    )
