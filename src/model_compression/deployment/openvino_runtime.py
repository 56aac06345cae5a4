"""Runs a deployable in OpenVINO on the CPU, for whoever serves it there.

Knows the file's contract; OpenVINO is an extra, so it is imported when a file is loaded.
"""

import io
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from model_compression.deployment.onnx_model import (
    INPUT_NAME,
    OUTPUT_NAME,
    OnnxModel,
    OnnxModelError,
)
from model_compression.deployment.runtime import Classifier

MISSING = (
    "OpenVINO isn't installed: it is an extra, pip install 'model-compression[openvino]' adds it."
)


class OpenVinoClassifier(Classifier):
    """A file that OpenVINO has loaded.

    It is loaded as ``for_openvino`` writes it. What it has in float32 is computed in float32: left
    to itself, OpenVINO takes bfloat16 where the processor has it, and its logits are no longer the
    file's.

    Args:
        model: The deployable, or its path.
        threads: Threads that one inference may use; 0 leaves the choice to OpenVINO.

    Raises:
        ModuleNotFoundError: If OpenVINO isn't installed.
        ValueError: If ``threads`` is negative.
        OnnxModelError: If OpenVINO refuses the file.
    """

    def __init__(self, model: OnnxModel | Path, threads: int = 0) -> None:
        super().__init__(model)
        if threads < 0:
            raise ValueError(f"The number of threads must be at least 0; got {threads}.")
        openvino = _openvino()
        # The tools of graphs, as in __init__.py: not before a run's first node.
        from model_compression.deployment.openvino_form import for_openvino  # noqa: PLC0415

        self._version = str(openvino.__version__).partition("-")[0]
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",
        }
        core = openvino.Core()
        try:
            network = core.read_model(io.BytesIO(for_openvino(self.model).content))
            self._request = core.compile_model(network, "CPU", settings).create_infer_request()
        except RuntimeError as error:
            raise OnnxModelError(f"OpenVINO can't run this file: {error}") from error

    @property
    def name(self) -> str:
        """The runtime and its version, such as ``openvino 2026.4.1``."""
        return f"openvino {self._version}"

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """One unchecked inference on all of ``images`` at once: the call that is timed."""
        # Images are read where they are, as ONNX Runtime reads them; the logits are a copy, as the
        # next inference writes over the request's own.
        answer = self._request.infer({INPUT_NAME: images}, share_inputs=True)
        return np.asarray(answer[OUTPUT_NAME])


def openvino_installed() -> bool:
    """Whether the extra is there."""
    return find_spec("openvino") is not None


def _openvino() -> ModuleType:
    try:
        return import_module("openvino")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(MISSING) from error
