"""What pruning can take: every classifier of torchvision, without half of its multiply-accumulates.

Each network is built with random weights for the smallest images that it accepts (three channels;
the side a multiple of 32), pruned, stored, read and built again by another process, exported,
compared with its PyTorch module, and timed in ONNX Runtime against the file of the whole network,
by turns, on one thread, at batch 1 unless ``--batch`` says otherwise. Each has processes of its
own, so that one that fails, hangs or wants too much memory costs no other its row.

A network that is in the table already is left out, so a run that was stopped goes on.

    python benchmarks/pruning_zoo.py
    python benchmarks/pruning_zoo.py --only=swin_t,shufflenet_v2_x1_0 --table=/tmp/zoo.csv

``--settings`` prunes otherwise, with the defaults for what it leaves out; the defaults themselves:

    python benchmarks/pruning_zoo.py --settings='{"method": "channels"}' --table=/tmp/defaults.csv
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from model_compression.deployment import OnnxModel, OnnxRuntimeClassifier, measure_latency
from model_compression.evaluation import count_macs, count_parameters, predict_logits
from model_compression.images import ImageSet, Normalization
from model_compression.models import Checkpoint, ModelSpec, build_model
from model_compression.models.checkpoint import read_checkpoint, write_checkpoint
from model_compression.models.torchvision_zoo import torchvision_names
from model_compression.pipelines.stage.nodes import export_module
from model_compression.pruning import ChannelPruningSettings, prune_channels

TABLE = Path(__file__).parents[1] / "docs" / "benchmarks" / "pruning_zoo.csv"
SETTINGS = json.dumps(
    {"method": "channels", "target": "macs", "ratio": 0.5, "importance": "l2", "scope": "layer"}
)
CLASSES = 1000
IMAGES = 4
STEP, LARGEST = 32, 512
NORMALIZATION = Normalization(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
PROTOBUF_LIMIT = 2**31
COLUMNS = [
    "network",
    "side",
    "macs",
    "macs_left",
    "parameters",
    "parameters_left",
    "pruning_seconds",
    "reloaded_exactly",
    "largest_relative_difference",
    "file_bytes",
    "file_bytes_left",
    "latency_ms",
    "latency_ms_left",
    "speedup",
    "failure",
]


def main() -> None:
    """Measures what is missing in the table, and prints the whole."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", help="names with commas; otherwise all")
    parser.add_argument("--table", type=Path, default=TABLE, help="CSV, a row a network")
    parser.add_argument("--settings", default=SETTINGS, help="of the pruning, as JSON")
    parser.add_argument("--batch", type=int, default=1, help="images of an inference")
    parser.add_argument("--repeats", type=int, default=15, help="turns of both files")
    parser.add_argument("--timeout", type=float, default=1200, help="seconds a network may take")
    parser.add_argument("--child", nargs=2, metavar=("NAME", "FOLDER"), help=argparse.SUPPRESS)
    parser.add_argument("--reload", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.child:
        name, folder = arguments.child
        settings = ChannelPruningSettings.model_validate_json(arguments.settings)
        measure(name, Path(folder), settings, arguments.batch, arguments.repeats)
    elif arguments.reload:
        reload(arguments.reload)
    else:
        survey(
            arguments.only.split(",") if arguments.only else torchvision_names(),
            arguments.table,
            [f"--{each}={getattr(arguments, each)}" for each in ("settings", "batch", "repeats")],
            arguments.timeout,
        )


def survey(names: list[str], table: Path, options: list[str], timeout: float) -> None:
    """Adds a row for every network that has none, the table being written after each."""
    rows = pd.read_csv(table).to_dict("records") if table.exists() else []
    for name in names:
        if any(row["network"] == name for row in rows):
            continue
        row = {"network": name} | in_processes_of_its_own(name, options, timeout)
        rows.append(row)
        table.parent.mkdir(parents=True, exist_ok=True)
        as_table(rows).to_csv(table, index=False, float_format="%.6g")
        print(json.dumps(row), flush=True)
    print(markdown(as_table(rows)))


def as_table(rows: list[dict[Any, Any]]) -> pd.DataFrame:
    """The rows, with whole numbers kept whole where a failure leaves some out."""
    return pd.DataFrame(rows, columns=COLUMNS).convert_dtypes()


def in_processes_of_its_own(name: str, options: list[str], timeout: float) -> dict[str, Any]:
    """What ``measure`` and then ``reload`` found, with what failed."""
    ends = time.monotonic() + timeout
    with tempfile.TemporaryDirectory() as folder:
        steps = [["--child", name, folder, *options], ["--reload", folder]]
        failure = None
        for step in steps:
            try:
                done = subprocess.run(
                    [sys.executable, __file__, *step],
                    capture_output=True,
                    check=False,
                    text=True,
                    timeout=max(ends - time.monotonic(), 1),
                )
            except subprocess.TimeoutExpired:
                failure = f"not done after {timeout:.0f} s"
                break
            if done.returncode != 0:
                said = done.stderr.strip().splitlines()
                failure = said[-1] if said else f"ended with {done.returncode}"
                break
        notes = Path(folder, "row.json")
        row: dict[str, Any] = json.loads(notes.read_text()) if notes.exists() else {}
    return row if failure is None else row | {"failure": failure}


def measure(
    name: str, folder: Path, settings: ChannelPruningSettings, batch: int, repeats: int
) -> None:
    """Prunes, stores, exports, compares and times; what is known is kept after every step."""
    row: dict[str, Any] = {}

    def note(**values: object) -> None:
        row.update(values)
        (folder / "row.json").write_text(json.dumps(row))

    spec, network = smallest(name)
    shape = spec.input_shape
    macs, parameters = count_macs(network, shape), count_parameters(network)[0]
    note(side=shape[1], macs=macs, parameters=parameters)

    started = time.perf_counter()
    pruned = prune_channels(network, shape, settings, seed=0)
    note(
        pruning_seconds=time.perf_counter() - started,
        macs_left=count_macs(pruned, shape),
        parameters_left=count_parameters(pruned)[0],
    )
    checkpoint = Checkpoint(
        spec=spec,
        weights=pruned.state_dict(),
        stage="pruned",
        fingerprint="random",
        classes=tuple(str(number) for number in range(CLASSES)),
        normalization=NORMALIZATION,
    )
    write_checkpoint(checkpoint, folder / "model.safetensors")
    logits = predict_logits(pruned, images(shape[1]), NORMALIZATION)
    np.save(folder / "logits.npy", logits)

    after = export_module(pruned, checkpoint)
    del pruned
    answers = OnnxRuntimeClassifier(after, threads=1).logits(images(shape[1]).images)
    note(
        file_bytes_left=after.size,
        largest_relative_difference=float(np.abs(answers - logits).max() / np.abs(logits).max()),
    )
    if 4 * parameters >= PROTOBUF_LIMIT:
        note(failure="the whole network's file would be over the 2 GiB that protobuf allows")
        return
    before = export_module(network, checkpoint)
    del network
    note(file_bytes=before.size, **latencies(before, after, shape[1], batch, repeats))


def latencies(
    before: OnnxModel, after: OnnxModel, side: int, batch: int, repeats: int
) -> dict[str, float]:
    """Medians of both, and the median of the turns' ratios."""
    times = measure_latency(
        {"before": before, "after": after},
        images(side).images,
        batch_sizes=(batch,),
        repeats=repeats,
        warmup=3,
    )
    turns = times.pivot(index="repeat", columns="stage", values="latency_ms")
    return {
        "latency_ms": float(turns["before"].median()),
        "latency_ms_left": float(turns["after"].median()),
        "speedup": float((turns["before"] / turns["after"]).median()),
    }


def reload(folder: Path) -> None:
    """Builds the stored network, and holds its logits to those before, bit for bit."""
    checkpoint = read_checkpoint(folder / "model.safetensors")
    side = checkpoint.spec.input_shape[1]
    logits = predict_logits(checkpoint.build(), images(side), checkpoint.normalization)
    row = json.loads((folder / "row.json").read_text())
    row["reloaded_exactly"] = bool(np.array_equal(logits, np.load(folder / "logits.npy")))
    (folder / "row.json").write_text(json.dumps(row))


def smallest(name: str) -> tuple[ModelSpec, nn.Module]:
    """The network for the smallest images on which it gives finite logits."""
    refusal: Exception | None = None
    for side in range(STEP, LARGEST + 1, STEP):
        torch.manual_seed(0)
        spec = ModelSpec(name=name, input_shape=(3, side, side), classes=CLASSES)
        try:
            network = with_a_head(build_model(spec)).eval()
            with torch.no_grad():
                logits = network(torch.zeros(1, *spec.input_shape))
        except (RuntimeError, ValueError, AssertionError) as error:
            refusal = error
            continue
        if logits.isfinite().all():
            return spec, network
    raise SystemExit(f"no images up to {LARGEST} pixels are accepted: {refusal}")


def with_a_head(network: nn.Module) -> nn.Module:
    """Random weights where a fresh network has zeros, as the heads of vision transformers do."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() > 1 and not parameter.any():
                nn.init.normal_(parameter, std=0.02)
    return network


def images(side: int) -> ImageSet:
    """Noise, the same in every process."""
    pixels: NDArray[np.uint8] = np.random.default_rng(0).integers(
        0, 256, (IMAGES, 3, side, side), dtype=np.uint8
    )
    classes = tuple(str(number) for number in range(CLASSES))
    return ImageSet(pixels, np.zeros(IMAGES, dtype=np.int64), classes, fingerprint="noise")


def markdown(table: pd.DataFrame) -> str:
    """The table as it is in the documentation."""
    lines = [
        "| network | side | MACs left | parameters left | reloads | difference | file left "
        "| ms before | ms after | faster | |",
        "| --- | --: | --: | --: | --- | --: | --: | --: | --: | --: | --- |",
    ]
    for row in (pd.Series(row) for row in table.to_dict("records")):
        lines.append(
            f"| {row.network} | {row.side:.0f} | {percent(row.macs_left, row.macs)} "
            f"| {percent(row.parameters_left, row.parameters)} "
            f"| {'exactly' if row.reloaded_exactly is True else 'no'} "
            f"| {number(row.largest_relative_difference, '.0e')} "
            f"| {percent(row.file_bytes_left, row.file_bytes)} "
            f"| {number(row.latency_ms, '.2f')} | {number(row.latency_ms_left, '.2f')} "
            f"| {number(row.speedup, '.2f')} "
            f"| {row.failure if isinstance(row.failure, str) else ''} |"
        )
    return "\n".join(lines)


def percent(left: float, whole: float) -> str:
    """What is left of the whole; an empty string where either is not known."""
    return "" if pd.isna(left) or pd.isna(whole) else f"{100 * left / whole:.1f} %"


def number(value: float, form: str) -> str:
    """An empty string for what is not known."""
    return "" if pd.isna(value) else format(value, form)


if __name__ == "__main__":
    main()
