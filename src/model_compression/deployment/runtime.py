"""Runs a deployable in ONNX Runtime on the CPU, as whoever serves it will.

Knows the file's contract; how good its answers are is judged elsewhere.
"""

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from model_compression.deployment.onnx_model import (
    INPUT_NAME,
    OUTPUT_NAME,
    OnnxModel,
    OnnxModelError,
    read_onnx,
)
from model_compression.images import ImageArray

_ERRORS_ONLY = 3


class Classifier(ABC):
    """A loaded file, in whichever runtime.

    Args:
        model: The deployable, or its path.
    """

    def __init__(self, model: OnnxModel | Path) -> None:
        self.model = read_onnx(model) if isinstance(model, Path) else model

    @property
    @abstractmethod
    def name(self) -> str:
        """The runtime and its version, such as ``onnxruntime 1.32.0``."""

    @abstractmethod
    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """One unchecked inference on all of ``images`` at once: the call that is timed."""

    def logits(self, images: ImageArray, batch_size: int = 500) -> NDArray[np.float32]:
        """The logits of every image, shape (N, classes).

        Args:
            images: Bytes, uint8, shape (N, C, H, W), as they are: the file normalises them itself.
            batch_size: Images at a time; those of a memory-mapped array are read as needed.

        Raises:
            ValueError: If the images are not of the dtype and shape that the file takes.
        """
        if batch_size < 1:
            raise ValueError(f"The batch size must be at least 1; got {batch_size}.")
        check_images(self.model, images)
        starts = range(0, len(images), batch_size)
        parts = [self.run(images[start : start + batch_size]) for start in starts]
        return np.concatenate(parts) if parts else self._no_logits()

    def _no_logits(self) -> NDArray[np.float32]:
        return np.empty((0, len(self.model.classes)), dtype=np.float32)


class OnnxRuntimeClassifier(Classifier):
    """A file that ONNX Runtime has loaded.

    Args:
        model: The deployable, or its path.
        threads: Threads that one inference may use; 0 leaves the choice to ONNX Runtime.
    """

    def __init__(self, model: OnnxModel | Path, threads: int = 0) -> None:
        super().__init__(model)
        self._session = open_session(self.model, threads)

    @property
    def name(self) -> str:
        """The runtime and its version, such as ``onnxruntime 1.32.0``."""
        return f"onnxruntime {onnxruntime.__version__}"

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """One unchecked inference on all of ``images`` at once: the call that is timed."""
        (logits,) = self._session.run([OUTPUT_NAME], {INPUT_NAME: images})
        return np.asarray(logits)


def check_images(model: OnnxModel, images: ImageArray) -> None:
    """Raises a ValueError if ``images`` are not what ``model`` takes."""
    if images.dtype != np.uint8 or tuple(images.shape[1:]) != model.input_shape:
        free = ", ".join(str(size) for size in model.input_shape)
        raise ValueError(
            f"This file takes uint8 images of shape (N, {free}); got {images.dtype} of shape "
            f"{tuple(images.shape)}. Give it bytes from 0 to 255, neither scaled nor normalised."
        )


def open_session(
    model: OnnxModel, threads: int, optimized_path: Path | None = None
) -> onnxruntime.InferenceSession:
    """A CPU session.

    Args:
        model: The deployable.
        threads: Threads that one inference may use; 0 leaves the choice to ONNX Runtime.
        optimized_path: Where ONNX Runtime writes the graph that it really runs.

    Raises:
        ValueError: If ``threads`` is negative.
        OnnxModelError: If ONNX Runtime refuses the file.
    """
    if threads < 0:
        raise ValueError(f"The number of threads must be at least 0; got {threads}.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _ERRORS_ONLY
    if optimized_path is not None:
        options.optimized_model_filepath = str(optimized_path)
    try:
        return onnxruntime.InferenceSession(
            model.content, options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # its exceptions have no common class of their own
        raise OnnxModelError(f"ONNX Runtime can't run this file: {error}") from error
