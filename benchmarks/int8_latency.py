r"""What int8 gains on the clock, and whether other tools' int8 gains more.

One network, random weights, 28x28 grey images, in up to twelve ways, which take turns in one
process, on one thread, at batch 1 and 64:

    fp32                 this project's float file, in ONNX Runtime
    int8                 this project's int8 file, in ONNX Runtime
    dynamic              this project's file of method dynamic: linear layers in integers
    static QDQ           the float file through onnxruntime.quantization.quantize_static,
    static QOperator     unsigned activations, signed weights per channel, in both of its formats
    ORT dynamic          the float file through onnxruntime.quantization.quantize_dynamic, unsigned
                         weights: convolutions in integers too, one by one
    fp32, int8 OpenVINO  the same two files of this project, in OpenVINO
    int8 symmetric       this project's int8 file of ``activation_grid: symmetric``, in both too
    NNCF OpenVINO        the float file through NNCF's post-training quantization, in OpenVINO
    NNCF mixed OpenVINO  the same with NNCF's preset for activations that are not symmetric

Each time is a median over the turns; each ratio the median of the turns' ratios, below 1 is faster.

    OMP_NUM_THREADS=1 python benchmarks/int8_latency.py
    OMP_NUM_THREADS=1 python benchmarks/int8_latency.py --networks=resnet8 --turns=200
    OMP_NUM_THREADS=1 python benchmarks/int8_latency.py --networks=lenet300,net \
        --ways=dynamic,"ORT dynamic" --turns=200

OpenVINO is an extra of this project, NNCF no dependency; what is missing is left out, and said so.

    pip install openvino==2026.4.1
    pip install --no-deps nncf==3.4.0 openvino-telemetry==2025.2.0 pydot==4.0.1 ninja==1.13.2 \
        tabulate==0.10.0 psutil==7.2.2
"""

import argparse
import contextlib
import io
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import nn

from model_compression.deployment import (
    OnnxModel,
    OnnxRuntimeClassifier,
    export_onnx,
    fusion_report,
    write_onnx,
)
from model_compression.deployment.latency import time_by_turns
from model_compression.deployment.openvino_runtime import OpenVinoClassifier, openvino_installed
from model_compression.images import Normalization
from model_compression.models import ModelSettings, build_model
from model_compression.quantization import (
    DynamicSettings,
    QatSettings,
    calibrate,
    convert,
    prepare_qat,
    quantize_after_training,
)

SHAPE = (1, 28, 28)
CLASSES = tuple("0123456789")
BATCH_SIZES = (1, 64)
CALIBRATION_IMAGES, CALIBRATION_BATCH = 256, 32
NORMALIZATION = Normalization(mean=(0.286,), std=(0.353,))
# A file's name and the float file of the same runtime, which it is compared with.
FLOAT_OF = {
    "int8": "fp32",
    "dynamic": "fp32",
    "ORT dynamic": "fp32",
    "int8 symmetric": "fp32",
    "static QDQ": "fp32",
    "static QOperator": "fp32",
    "int8 OpenVINO": "fp32 OpenVINO",
    "int8 symmetric OpenVINO": "fp32 OpenVINO",
    "NNCF OpenVINO": "fp32 OpenVINO",
    "NNCF mixed OpenVINO": "fp32 OpenVINO",
}

Run = Callable[[NDArray[np.uint8]], object]


def main() -> None:
    """Measures every network and prints the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", default="resnet8,resnet20", help="names with commas")
    parser.add_argument("--turns", type=int, default=100, help="of each way at each batch size")
    parser.add_argument("--ways", help="beside fp32 and int8, with commas; all if left out")
    parser.add_argument(
        "--openvino-precision",
        default="f32",
        choices=["f32", "bf16"],
        help="what NNCF's network has in float: as the file says, or as OpenVINO likes it",
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"Versions: {versions()}")
    print(f"Load of the machine before: {os.getloadavg()[0]:.2f}")
    for name in arguments.networks.split(","):
        with tempfile.TemporaryDirectory() as folder:
            runs = ways(name, Path(folder), arguments.openvino_precision)
            if arguments.ways is not None:
                wanted = {"fp32", "int8", *arguments.ways.split(",")}
                if unknown := wanted - runs.keys():
                    parser.error(f"no such way: {sorted(unknown)}; there are {sorted(runs)}")
                wanted |= {FLOAT_OF[way] for way in wanted if way in FLOAT_OF}
                runs = {way: run for way, run in runs.items() if way in wanted}
            print(f"\n{markdown(name, runs, measure(runs, arguments.turns))}", flush=True)
    print(f"\nLoad of the machine after: {os.getloadavg()[0]:.2f}")


def ways(name: str, folder: Path, precision: str) -> dict[str, Run]:
    """What is timed, by name; what is not installed is left out."""
    network = build_model(ModelSettings(name=name).spec(SHAPE, len(CLASSES)))
    settle(network)
    plain, int8 = export(network, name), export(quantized(network), name)
    symmetric = export(quantized(network, QatSettings(activation_grid="symmetric")), name)
    dynamic = export(dynamically_quantized(network), name)
    for way, model in (("int8", int8), ("int8 symmetric", symmetric), ("dynamic", dynamic)):
        fused = len(fusion_report(model).fused)
        print(f"{name}: this project's {way} file runs {fused} layers in integers")
    float_file = folder / "float.onnx"
    write_onnx(plain, float_file)
    runs: dict[str, Run] = {
        "fp32": OnnxRuntimeClassifier(plain, threads=1).run,
        "int8": OnnxRuntimeClassifier(int8, threads=1).run,
        "int8 symmetric": OnnxRuntimeClassifier(symmetric, threads=1).run,
        "dynamic": OnnxRuntimeClassifier(dynamic, threads=1).run,
        "ORT dynamic": dynamic_by_onnx_runtime(float_file, folder / "dynamic.onnx"),
        "static QDQ": static(float_file, folder / "qdq.onnx", QuantFormat.QDQ),
        "static QOperator": static(float_file, folder / "qop.onnx", QuantFormat.QOperator),
    }
    if not openvino_installed():
        print("OpenVINO isn't installed: its rows are left out.")
        return runs
    runs["fp32 OpenVINO"] = OpenVinoClassifier(plain, threads=1).run
    runs["int8 OpenVINO"] = OpenVinoClassifier(int8, threads=1).run
    runs["int8 symmetric OpenVINO"] = OpenVinoClassifier(symmetric, threads=1).run
    if find_spec("nncf") is None:
        print("NNCF isn't installed: its rows are left out.")
        return runs
    runs["NNCF OpenVINO"] = nncf_quantized(plain, precision, "performance")
    runs["NNCF mixed OpenVINO"] = nncf_quantized(plain, precision, "mixed")
    return runs


def settle(network: nn.Module) -> None:
    """Gives a random network the batch norms' statistics of the images that it will see."""
    torch.manual_seed(0)
    network.train()
    with torch.no_grad():
        for batch in calibration():
            network(NORMALIZATION.apply(torch.from_numpy(batch)))
    network.eval()


def quantized(network: nn.Module, settings: QatSettings | None = None) -> nn.Module:
    """The network in this project's int8, calibrated as the others are."""
    prepared = prepare_qat(network, SHAPE, settings)
    calibrate(prepared, [NORMALIZATION.apply(torch.from_numpy(batch)) for batch in calibration()])
    return convert(prepared)


def dynamically_quantized(network: nn.Module) -> nn.Module:
    """The network as method dynamic leaves it."""
    batches = [NORMALIZATION.apply(torch.from_numpy(batch)) for batch in calibration()]
    settings = DynamicSettings(method="dynamic")
    return convert(quantize_after_training(network, SHAPE, settings, batches))


def export(module: nn.Module, name: str) -> OnnxModel:
    """The file that this project ships of it."""
    return export_onnx(
        module,
        input_shape=SHAPE,
        normalization=NORMALIZATION,
        classes=CLASSES,
        stage="benchmark",
        fingerprint="random",
        architecture=name,
    )


class Reader(CalibrationDataReader):  # type: ignore[misc]
    """Gives quantize_static the calibration images."""

    def __init__(self) -> None:
        self._batches = calibration()

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """The next batch by the input's name; None after the last."""
        batch = next(self._batches, None)
        return None if batch is None else {"images": batch}


def static(source: Path, target: Path, form: QuantFormat) -> Run:
    """The float file through ONNX Runtime's own quantizer, as its documentation prepares it."""
    prepared = target.with_suffix(".prepared.onnx")
    with contextlib.redirect_stderr(io.StringIO()):
        quant_pre_process(source, prepared)
        quantize_static(
            prepared,
            target,
            Reader(),
            quant_format=form,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
    return loaded(target)


def dynamic_by_onnx_runtime(source: Path, target: Path) -> Run:
    """The float file through ONNX Runtime's own dynamic quantizer."""
    prepared = target.with_suffix(".prepared.onnx")
    with contextlib.redirect_stderr(io.StringIO()):
        quant_pre_process(source, prepared)
        # Signed weights per channel are slower still in a convolution.
        quantize_dynamic(prepared, target, weight_type=QuantType.QUInt8)
    return loaded(target)


def loaded(path: Path) -> Run:
    """A file in ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        path.read_bytes(), options, providers=["CPUExecutionProvider"]
    )
    return lambda images: session.run(["logits"], {"images": images})


def nncf_quantized(plain: OnnxModel, precision: str, preset: str) -> Run:
    """The float file through NNCF, loaded as ``OpenVinoClassifier`` loads a file."""
    os.environ.setdefault("NNCF_CI", "1")  # keeps it from sending statistics of its use
    import nncf  # noqa: PLC0415
    import openvino  # noqa: PLC0415

    nncf.set_log_level(40)
    core = openvino.Core()
    with contextlib.redirect_stdout(io.StringIO()):
        network = nncf.quantize(
            core.read_model(io.BytesIO(plain.content)),
            nncf.Dataset([{"images": batch} for batch in calibration()]),
            preset=nncf.QuantizationPreset(preset),
            subset_size=CALIBRATION_IMAGES // CALIBRATION_BATCH,
        )
    settings: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": 1,
        "INFERENCE_PRECISION_HINT": precision,
    }
    request = core.compile_model(network, "CPU", settings).create_infer_request()
    return lambda images: request.infer({"images": images}, share_inputs=True)["logits"]


def calibration() -> Iterator[NDArray[np.uint8]]:
    """Noise, the same for every quantizer."""
    random = np.random.default_rng(0)
    for _ in range(CALIBRATION_IMAGES // CALIBRATION_BATCH):
        yield random.integers(0, 256, (CALIBRATION_BATCH, *SHAPE), dtype=np.uint8)


def measure(runs: dict[str, Run], turns: int) -> pd.DataFrame:
    """Columns batch_size, way, turn, latency_ms."""
    (first, *_) = calibration()
    rows = []
    for batch_size in BATCH_SIZES:
        batch = np.ascontiguousarray(first[np.arange(batch_size) % len(first)])
        for way, turn, milliseconds in time_by_turns(runs, batch, repeats=turns, warmup=10):
            rows.append((batch_size, way, turn, milliseconds))
    return pd.DataFrame(rows, columns=["batch_size", "way", "turn", "latency_ms"])


def markdown(name: str, order: Iterable[str], times: pd.DataFrame) -> str:
    """The table as it is in the documentation."""
    lines = [
        f"| {name} | batch | median ms | against the runtime's fp32 | against int8 |",
        "| --- | --: | --: | --: | --: |",
    ]
    for batch_size, group in times.groupby("batch_size"):
        turns = group.pivot(index="turn", columns="way", values="latency_ms")
        for way in order:
            own = turns[way]
            against = own / turns[FLOAT_OF[way]] if way in FLOAT_OF else None
            ratio = "" if against is None else f"{against.median():.2f}"
            lines.append(
                f"| {way} | {batch_size} | {own.median():.3f} | {ratio} "
                f"| {(own / turns['int8']).median():.2f} |"
            )
    return "\n".join(lines)


def versions() -> str:
    """Of what is installed of the tools that are compared."""
    names = ("onnxruntime", "onnx", "torch", "torchao", "openvino", "nncf")
    return ", ".join(f"{name} {version(name)}" for name in names if find_spec(name) is not None)


if __name__ == "__main__":
    main()
