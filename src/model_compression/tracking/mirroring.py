"""What a dataset becomes in MLflow, as its catalog entry's ``metadata.mlflow`` says.

Knows the kinds; the entry's other settings are a kind's own:

    as: metric_history   rows with an ``epoch``: one value a row and column, live during training
    as: metrics          a mapping: every number a metric of the stage's run and of its model,
                         linked to the image set that the node reads
    as: comparison       a row a stage: every number a metric ``<stage>.<column>`` of the whole
                         run, one named as its column with the stage's place as step, and
                         what is new of it one of the stage's run and model. ``images``:
                         the set that it was measured on; ``conditions``: parameters that
                         latencies depend on
    as: recommendation   a mapping whose ``stage`` is the one to ship; also a file
    as: trials           records by key: each a run of its own, nested and finished, with tags,
                         parameters, one value an epoch and metrics
    as: model            an ONNX model, saved or loaded: a LoggedModel with signature and input
                         example; ``registered_name``: also a version of it
    as: input            an image set that is loaded: an input of the runs, with ``context``
    as: artifact         the file itself
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from model_compression.tracking.tracked_run import TrackedRun

KINDS = (
    "metric_history",
    "metrics",
    "comparison",
    "recommendation",
    "trials",
    "model",
    "input",
    "artifact",
)


def mirror_saved(
    run: TrackedRun,
    stage: str | None,
    name: str,
    data: Any,
    dataset: Any,
    read: Iterable[str],
) -> None:
    """Records what was saved.

    Args:
        run: The run under way.
        stage: The stage of the node that saved it.
        name: The dataset's.
        data: What was saved.
        dataset: Its catalog entry.
        read: Names of what the node has read.

    Raises:
        ValueError: If the entry's kind is unknown.
    """
    kind, settings = _kind(name, dataset)
    match kind:
        case None | "input":
            pass
        case "metric_history":
            run.log_history(stage, name, data)
        case "metrics":
            run.log_figures(stage, data, run.images_among(read))
        case "comparison":
            rows = {row.pop("stage"): row for row in data.to_dict(orient="records")}
            images = run.images_among([*read, settings.get("images", "")])
            run.log_comparison(rows, images, settings.get("conditions", ()))
            run.log_artifact(None, _file(dataset), _folder(dataset))
        case "recommendation":
            run.recommend(data["stage"])
            run.log_artifact(None, _file(dataset), _folder(dataset))
        case "trials":
            for key, trial in data.items():
                run.log_trial(key, trial)
        case "model":
            run.log_model(stage, data, _file(dataset), settings.get("registered_name"))
        case "artifact":
            run.log_artifact(stage, _file(dataset), _folder(dataset))


def mirror_loaded(run: TrackedRun, stage: str | None, name: str, data: Any, dataset: Any) -> None:
    """Records what was loaded, where that is worth a word.

    Image sets, and models: what a run that only compares reads has been made by another one.

    Raises:
        ValueError: If the entry's kind is unknown.
    """
    kind, settings = _kind(name, dataset)
    if kind == "input":
        run.log_input(stage, name, data, dataset._describe()["filepath"], settings["context"])
    elif kind == "model":
        run.log_model(stage, data, _file(dataset), settings.get("registered_name"))


def _kind(name: str, dataset: Any) -> tuple[str | None, dict[str, Any]]:
    settings = dict((getattr(dataset, "metadata", None) or {}).get("mlflow") or {})
    kind = settings.pop("as", None)
    if kind is not None and kind not in KINDS:
        raise ValueError(
            f"{name}: metadata.mlflow.as is {kind!r}; expected one of {', '.join(KINDS)}"
        )
    return kind, settings


def _file(dataset: Any) -> Path:
    return Path(str(dataset._filepath))


def _folder(dataset: Any) -> str:
    """Artifacts lie in MLflow under the name of their layer's folder."""
    return _file(dataset).parent.name
