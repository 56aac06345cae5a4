"""The files in other runtimes than the one that the report's numbers come from.

Knows times and answers by runtime, not the runtimes.
"""

from collections.abc import Mapping

import pandas as pd

from model_compression.reporting import units
from model_compression.reporting.readings import require_columns
from model_compression.reporting.sections import Section, table_of

REFERENCE_RUNTIME = "onnxruntime"
RUNTIME_COLUMNS = ("stage", "batch_size", "runtime", "latency_ms", "speedup", "top1_agreement")


def runtime_table(
    latency: pd.DataFrame, agreement: Mapping[tuple[str, str], float]
) -> pd.DataFrame:
    """A row for every stage, batch size and runtime.

    ``latency_ms`` is the median over the turns; ``speedup`` the median of the turns' ratios, ONNX
    Runtime's time over the runtime's, so above 1 it is faster than ONNX Runtime;
    ``top1_agreement`` the share of the test images that both put into the same class.

    Args:
        latency: Columns ``stage, runtime, batch_size, repeat, latency_ms``, interleaved; ONNX
            Runtime is among the runtimes.
        agreement: By stage and runtime.

    Raises:
        ValueError: If the latency table lacks a column.
    """
    require_columns(
        latency, ("stage", "runtime", "batch_size", "repeat", "latency_ms"), "runtimes' latency"
    )
    rows = []
    for (stage, batch_size), group in latency.groupby(["stage", "batch_size"], sort=False):
        turns = group.pivot(index="repeat", columns="runtime", values="latency_ms")
        for runtime in group["runtime"].unique():
            rows.append(
                (
                    stage,
                    batch_size,
                    runtime,
                    float(turns[runtime].median()),
                    float((turns[REFERENCE_RUNTIME] / turns[runtime]).median()),
                    agreement[str(stage), str(runtime)],
                )
            )
    return pd.DataFrame(rows, columns=list(RUNTIME_COLUMNS))


def runtimes_section(table: pd.DataFrame) -> Section:
    """The table in words.

    Args:
        table: As ``runtime_table`` builds it.
    """
    shown = table.rename(
        columns={
            "stage": "Stage",
            "batch_size": "Images",
            "runtime": "Runtime",
            "latency_ms": "Median",
            "speedup": "Against ONNX Runtime",
            "top1_agreement": "Same class",
        }
    )
    words = table_of(
        shown,
        {
            "Median": lambda value: units.latencies([value])[0],
            "Against ONNX Runtime": lambda value: units.factor(
                value, more="faster", less="slower", same="same speed"
            ),
            "Same class": units.percent,
        },
        caption="Images: of one inference. Same class: share of the test images on which the "
        "runtime and ONNX Runtime agree.",
    )
    return Section(
        "runtimes",
        "Other runtimes",
        "The same files elsewhere, timed by turns with ONNX Runtime; all other numbers of this "
        "report are ONNX Runtime's.",
        (words,),
    )
