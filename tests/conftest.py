import copy
import functools
import gc
import importlib
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from typing import Any

import hypothesis
import numpy as np
import pytest
import torch
from torch.utils.flop_counter import _FlopCounterMode

from model_compression.images import ImageSet, Normalization

tracer = sys.gettrace()
if hasattr(tracer, "lock_data"):
    # Coverage locks its data at each call of a function of ours, by two functions in Python.
    lock = threading.RLock()
    tracer.lock_data, tracer.unlock_data = lock.acquire, lock.release


def untraced(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, of which coverage sees nothing: what it runs isn't ours.

    Until Python 3.12, coverage is told of every line that Python runs, whose ever it is, and
    PyTorch's exporters, which are Python throughout, take twice as long for it. The lines of ours
    that they call are networks' ``forward``, which other tests call.
    """

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        tracer = sys.gettrace()
        sys.settrace(None)
        try:
            return function(*args, **options)
        finally:
            sys.settrace(tracer)

    return call


def knowing_onnx(export: Callable[..., Any]) -> Callable[..., Any]:
    """The same exporter, which translates PyTorch's operators into ONNX once and not at each call.

    Those translations are what onnxscript makes of its library's source; they take as long as all
    else about a small network. An export adds its caller's to a copy.
    """

    @functools.cache
    def prepared() -> None:
        # The registry leaves out operators that aren't there yet when it is read.
        importlib.import_module("torch.ao.quantization.fx._decomposed")
        from torch.onnx._internal.exporter._registration import ONNXRegistry

        read = functools.cache(ONNXRegistry.from_torchlib.__func__)

        def copied(cls: type[ONNXRegistry], *args: int, **options: int) -> ONNXRegistry:
            registry = copy.copy(read(cls, *args, **options))
            registry.functions = {name: [*found] for name, found in registry.functions.items()}
            return registry

        ONNXRegistry.from_torchlib = classmethod(copied)

    @functools.wraps(export)
    def call(*args: Any, **options: Any) -> Any:
        prepared()
        return export(*args, **options)

    return call


# Likewise. A worker, which will need them all, reads them before coverage begins to look.
BIG = ["kedro_mlflow", "mlflow", "onnxruntime", "onnxscript", "pandas", "plotly", "scipy.stats"]
if "PYTEST_XDIST_WORKER" in os.environ:
    for name in [*BIG, "kedro.framework.session", "sklearn.metrics", "torch._dynamo"]:
        importlib.import_module(name)

# What was fastest on this machine is found out, or given, by the tests that are about it.
os.environ["MODEL_COMPRESSION_CACHE"] = tempfile.mkdtemp()
# MLflow's servers start six more processes for jobs that no test asks for.
os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
torch.export.export = untraced(torch.export.export)
torch.export.ExportedProgram.module = untraced(torch.export.ExportedProgram.module)
_FlopCounterMode.__torch_dispatch__ = untraced(_FlopCounterMode.__torch_dispatch__)
torch.onnx.export = untraced(knowing_onnx(torch.onnx.export))
torch.set_num_threads(1)
# How long an example takes says more of the machine's other work than of the code. The other
# profile is for whoever has changed a formula or a format: --hypothesis-profile=thorough.
hypothesis.settings.register_profile("everyday", deadline=None, max_examples=40)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=1000)
hypothesis.settings.load_profile("everyday")


def pytest_collection_finish() -> None:
    """Keeps the collector of garbage from going through what is imported, for good, ever again."""
    gc.collect()
    gc.freeze()


def noisy_images() -> ImageSet:
    """96 noisy 12x12 images of three classes that a small network learns in a few epochs."""
    generator = np.random.default_rng(0)
    labels = np.arange(96, dtype=np.int64) % 3
    images = generator.integers(0, 120, (96, 1, 12, 12), dtype=np.uint8)
    for row, label in enumerate(labels):
        images[row, :, 4 * label : 4 * label + 4] += 120
    return ImageSet(images, labels, ("top", "middle", "bottom"), "tiny")


@pytest.fixture
def tiny_images() -> ImageSet:
    return noisy_images()


@pytest.fixture
def tiny_normalization() -> Normalization:
    return Normalization(mean=(0.4,), std=(0.25,))
