"""The model card: what Hugging Face shows of a model, as Markdown with YAML front matter.

The fields are those of the hub's model-card format (its ``modelcard.md``), results among them as a
``model-index``. Knows evaluations and what the deployable promises; the licence of a trained model
is its owner's.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from model_compression.reporting import units
from model_compression.reporting.chapters import comparison_in_words
from model_compression.reporting.comparison import comparison_table
from model_compression.reporting.readings import Evaluation, number, text
from model_compression.reporting.recommendation import Recommendation
from model_compression.reporting.verdict import verdict


def render_model_card(
    evaluations: Mapping[str, Evaluation],
    latency: pd.DataFrame,
    recommendation: Recommendation,
    *,
    classes: Sequence[str],
    input_shape: tuple[int, int, int],
    provenance: Mapping[str, Any],
    licence: str | None = None,
    dataset_id: str | None = None,
) -> str:
    """Renders the card of the recommended file.

    Args:
        evaluations: By stage, in their order, as in ``evaluation.json``.
        latency: Columns ``stage, batch_size, repeat, latency_ms``.
        recommendation: Which stage's file to ship, and why.
        classes: The names of the classes, in the order of the logits.
        input_shape: Channels, height and width of an image.
        provenance: ``data`` names the data set, ``command`` says how to reproduce.
        licence: An identifier that Hugging Face knows; left out where ``None``.
        dataset_id: The images' identifier on the hub; where ``None``, their name in its form.

    Raises:
        ValueError: If there is no stage or not the recommended one, or the latency table lacks a
            column.
    """
    stage = recommendation.stage
    judged = verdict(evaluations, latency, stage)
    evaluation = evaluations[stage]
    architecture = text(evaluation, "architecture")
    data = text(provenance, "data") or "the training data"
    environment = Environment(
        loader=PackageLoader("model_compression.reporting"),
        # Markdown, not HTML: the filters below escape what is inserted.
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["markdown"] = markdown
    return environment.get_template("model_card.md.jinja").render(
        front_matter=yaml.safe_dump(
            _front_matter(evaluation, stage, architecture, data, licence, dataset_id),
            sort_keys=False,
            allow_unicode=True,
            width=math.inf,
        ),
        stage=stage,
        architecture=architecture,
        judged=judged,
        advice=recommendation.advice,
        table=comparison_in_words(comparison_table(evaluations, latency), evaluations, stage),
        classes=classes,
        input_shape=input_shape,
        size=units.size(number(evaluation, "file_bytes")),
        data=data,
        runtime=text(evaluation, "runtime"),
        command=text(provenance, "command"),
        fingerprint=text(evaluation, "fingerprint"),
    )


def markdown(value: object) -> str:
    """A text that Markdown shows literally, also within a table's cell."""
    escaped = re.sub(r"([\\`*_{}\[\]<>|#~$])", r"\\\1", str(value))
    return re.sub(r"\s*[\r\n]+\s*", " ", escaped).replace("&", "&amp;")


def _front_matter(
    evaluation: Evaluation,
    stage: str,
    architecture: str,
    data: str,
    licence: str | None,
    dataset_id: str | None,
) -> dict[str, Any]:
    # The front matter ends at a line of three hyphens, also within a quoted text.
    stage, architecture, data = (" ".join(name.split()) for name in (stage, architecture, data))
    metrics = [
        {"type": kind, "name": name, "value": value}
        for kind, name, key in (
            ("accuracy", "Accuracy", "accuracy"),
            ("f1", "Macro F1", "macro_f1"),
        )
        if not math.isnan(value := number(evaluation, key))
    ]
    result = {
        "task": {"type": "image-classification"},
        "dataset": {"name": data, "type": dataset_id or _identifier(data), "split": "test"},
        "metrics": metrics,
    }
    front: dict[str, Any] = {
        "license": licence,
        "library_name": "onnx",
        "pipeline_tag": "image-classification",
        "tags": ["onnx", "onnxruntime", "model-compression", architecture, stage],
        "datasets": [dataset_id or _identifier(data)],
        "metrics": [metric["type"] for metric in metrics],
        "model-index": [{"name": f"{architecture} {stage}".strip(), "results": [result]}],
    }
    front["tags"] = [tag for tag in front["tags"] if tag]
    return {key: value for key, value in front.items() if value is not None}


def _identifier(name: str) -> str:
    """A name in the form of the hub's identifiers, which have 96 characters at most."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower())[:96].strip("-") or "unknown"
