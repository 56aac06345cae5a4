"""The report's own sections, each built from plain results.

Knows which numbers belong together and how they are explained, not how a page looks.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from model_compression.reporting import units
from model_compression.reporting.comparison import COLUMNS
from model_compression.reporting.figures import (
    accuracy_against_latency,
    accuracy_against_macs,
    accuracy_against_size,
    confusion_figure,
    recall_by_class,
    training_curves,
)
from model_compression.reporting.figures.curves import History
from model_compression.reporting.readings import (
    Evaluation,
    number,
    reference_stage,
    scalar,
    text,
    words,
)
from model_compression.reporting.sections import (
    Block,
    Cell,
    Chart,
    Code,
    Facts,
    Gallery,
    Section,
    Table,
)

_NUMBERS = [column for column, kind in COLUMNS.items() if kind != "str"]


def comparison_section(
    comparison: pd.DataFrame, evaluations: Mapping[str, Evaluation], recommended: str
) -> Section:
    """The comparison of all stages.

    Args:
        comparison: As ``comparison_table`` builds it.
        evaluations: By stage, as in ``evaluation.json``.
        recommended: The stage whose file is to be shipped.
    """
    table = comparison_in_words(comparison, evaluations, recommended)
    return Section("comparison", "Comparison", blocks=(table,))


def comparison_in_words(
    comparison: pd.DataFrame, evaluations: Mapping[str, Evaluation], recommended: str
) -> Table:
    """The comparison table in words and units.

    Args:
        comparison: As ``comparison_table`` builds it.
        evaluations: By stage; ``paired`` in them holds the interval of the difference.
        recommended: The stage that is marked as the one to ship.
    """
    stages = [str(stage) for stage in comparison["stage"]]
    reference = reference_stage(stages)
    latency = {
        size: units.latencies([scalar(value) for value in comparison[f"latency_ms_batch{size}"]])
        for size in (1, 64)
    }
    rows = []
    for index, (_, row) in enumerate(comparison.iterrows()):
        stage = str(row["stage"])
        value = {key: scalar(row[key]) for key in _NUMBERS}
        if stage == reference:
            value |= {"size_ratio": math.nan, "speedup_batch1": math.nan}
        rows.append(
            (
                Cell(stage, detail=_origin(row, stage == recommended), stage=stage),
                Cell(
                    units.percent(value["accuracy"], 2),
                    detail=units.interval(value["accuracy_low"], value["accuracy_high"]),
                ),
                Cell("reference")
                if stage == reference
                else Cell(units.points(-value["accuracy_drop"]), _difference(evaluations[stage])),
                Cell(
                    units.size(value["file_bytes"]),
                    _against(value["size_ratio"], more="smaller", less="larger", same="same size"),
                ),
                Cell(units.size(value["packed_bytes"])),
                Cell(units.quantity(value["parameters"]), _nonzero(value)),
                Cell(units.quantity(value["macs"])),
                Cell(
                    latency[1][index],
                    _against(
                        value["speedup_batch1"], more="faster", less="slower", same="same speed"
                    ),
                ),
                Cell(latency[64][index]),
            )
        )
    return Table(
        head=(
            "Stage",
            "Accuracy",
            f"Against {reference}",
            "File",
            "Packed",
            "Parameters",
            "MACs",
            "1 image",
            "64 images",
        ),
        rows=tuple(rows),
        caption=(
            "Accuracy is the share of the test images that are classified rightly, with a 95% "
            f"Wilson interval below it. Against {reference}: in percentage points (pp), with the "
            "95% interval of the difference on the same images (Agresti and Min). File: bytes of "
            "the ONNX file, 1 kB = 1000 bytes; packed: after entropy coding, as a download. MACs: "
            "multiply-accumulates for one image. The last two columns are median times for a "
            "batch of that many images."
        ),
        stacked=True,
    )


def tradeoff_section(comparison: pd.DataFrame, latency: pd.DataFrame) -> Section:
    """Accuracy against size and against latency."""
    path = " to ".join(str(stage) for stage in comparison["stage"])
    return Section(
        "trade-off",
        "What accuracy costs",
        "Further left is smaller or faster, further up is more accurate. Filled marks are on the "
        "Pareto front: no other stage is as good in both and better in one; hollow ones are not. "
        "Bars are 95% intervals of the accuracy and quartiles of the time, which the front does "
        "not consider; the dotted line follows the stages.",
        (
            Gallery(
                (
                    Chart(
                        accuracy_against_size(comparison),
                        f"Accuracy against file size, from {path}; numbers in the table above.",
                    ),
                    Chart(
                        accuracy_against_latency(comparison, latency),
                        f"Accuracy against latency, from {path}; numbers in the table above.",
                    ),
                    Chart(
                        accuracy_against_latency(comparison, latency, 64),
                        f"Accuracy against the time of a batch of 64, from {path}; numbers in the "
                        "table above.",
                    ),
                    Chart(
                        accuracy_against_macs(comparison),
                        f"Accuracy against multiply-accumulates, from {path}; numbers in the "
                        "table above.",
                    ),
                )
            ),
        ),
    )


def training_section(
    histories: Mapping[str, History], evaluations: Mapping[str, Evaluation]
) -> Section:
    """The training curves.

    Args:
        histories: By stage.
        evaluations: By stage; ``best_epoch`` in them is the epoch whose network was kept.
    """
    stages = ", ".join(histories)
    kept = {stage: number(each, "best_epoch") for stage, each in evaluations.items()}
    return Section(
        "training",
        "How they learned",
        "Solid: validation images. Dotted: training images, as augmented. The mark is the "
        "epoch that was kept, by its validation loss; the steep first epochs are left out. "
        "Training losses are not shown: each stage has its own objective.",
        (
            Gallery(
                (
                    Chart(training_curves(histories, kept=kept), f"Accuracy by epoch of {stages}."),
                    Chart(
                        training_curves(histories, "loss", kept),
                        f"Validation loss by epoch of {stages}.",
                    ),
                )
            ),
        ),
    )


def classes_section(confusions: Mapping[str, pd.DataFrame]) -> Section:
    """Recall by class, and a confusion matrix for each stage."""
    return Section(
        "classes",
        "Where the errors are",
        "Recall is the share of a class that is recognised. In the matrices, the text counts test "
        "images, and the colour grows with the square root of the share of the true class, so that "
        "rare errors show; it is full from one half on.",
        (
            Chart(
                recall_by_class(confusions),
                f"Recall by class of {', '.join(confusions)}, hardest class first.",
            ),
            Gallery(
                tuple(
                    Chart(
                        confusion_figure(confusion, stage),
                        f"Confusion matrix of {stage}: true classes in rows, predicted in columns.",
                    )
                    for stage, confusion in confusions.items()
                )
            ),
        ),
    )


def reproduction_section(provenance: Mapping[str, Any]) -> Section:
    """How to get the same results again.

    Args:
        provenance: ``command`` becomes text to copy; mappings (``versions``, ``fingerprints``)
            become lists under their own titles, everything else a list of facts.
    """
    blocks: list[Block] = []
    if command := text(provenance, "command"):
        blocks.append(Code(command))
    rest = {key: value for key, value in provenance.items() if key != "command"}
    plain = {
        _title(key): _as_text(value)
        for key, value in rest.items()
        if not isinstance(value, Mapping)
    }
    if plain:
        blocks.append(Facts(plain))
    blocks.extend(
        Facts({str(name): _as_text(item) for name, item in value.items()}, title=_title(key))
        for key, value in rest.items()
        if isinstance(value, Mapping)
    )
    return Section(
        "reproduction",
        "How to reproduce",
        "This command made the report, at this commit and with these versions; where it ran some "
        "pipelines only, the other stages were there before. Parameters and images are the same "
        "where their fingerprints are; a stage's own covers both and the stages before it. Times "
        "are of this machine."
        if blocks
        else "",
        tuple(blocks),
    )


def _origin(row: "pd.Series[Any]", is_recommended: bool) -> str:
    parts = [words(row["architecture"]), "recommended" if is_recommended else ""]
    return ", ".join(part for part in parts if part)


def _difference(evaluation: Evaluation) -> str:
    low, high = (number(evaluation, "paired", f"difference_{end}") for end in ("low", "high"))
    if math.isnan(low) or math.isnan(high):
        return ""
    return units.points_range(low, high).removesuffix(f"{units.SPACE}pp")


def _against(ratio: float, *, more: str, less: str, same: str) -> str:
    return "" if math.isnan(ratio) else units.factor(ratio, more=more, less=less, same=same)


def _nonzero(value: Mapping[str, float]) -> str:
    total, nonzero = value["parameters"], value["nonzero_parameters"]
    # A few weights are zero by chance; only a pruned network has a share that matters.
    return f"{units.quantity(nonzero)} not zero" if nonzero < 0.95 * total else ""


def _title(key: str) -> str:
    return key.replace("_", " ").capitalize()


def _as_text(value: Any) -> str:
    if value is None:
        return units.MISSING
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
