"""The shape that every stage has: train → select_best → export → evaluate."""

from collections.abc import Callable, Iterable
from typing import Any

from kedro.pipeline import Node, Pipeline

from model_compression.pipelines.stage.nodes import evaluate, export, select_best

IMAGES = ("train_images", "validation_images", "normalization")


TEACHING = ("more_teachers", "teacher_answers")

CHOOSE_BEST = Node(select_best, "training_state", "checkpoint", name="select_best", tags="choosing")


def create_stage(
    namespace: str,
    train: Callable[..., Any],
    parameters: str,
    sources: Iterable[str] = (),
    reads: Iterable[str] = (),
    choose: Node = CHOOSE_BEST,
) -> Pipeline:
    """One stage of the flow, all of whose outputs are named ``<namespace>.…``.

    Args:
        namespace: The stage: ``teacher``, ``student``, ``pruned`` or ``quantized``.
        train: A generator node; it takes training images, validation images, normalisation, the
            source checkpoints, what else it reads, its parameters and the state to go on from, in
            this order, and yields a training state and a history after every epoch.
        parameters: The stage's parameter group, such as ``params:teacher``.
        sources: The stages whose checkpoints it learns or starts from.
        reads: Datasets that it reads besides, such as ``TEACHING`` for a stage that is distilled.
        choose: Makes the stage's ``checkpoint`` of its ``training_state``; it may read whatever
            training reads too.
    """
    given = [*(f"{stage}.checkpoint" for stage in sources), *reads]
    return Pipeline(
        [
            Node(
                train,
                [*IMAGES, *given, parameters, "resume_state"],
                ["training_state", "history"],
                name="train",
                tags="training",
            ),
            choose,
            Node(export, "checkpoint", "onnx", name="export", tags="exporting"),
            Node(
                evaluate,
                ["checkpoint", "onnx", "test_images", "history"],
                ["predictions", "evaluation", "classification_report", "confusion_matrix"],
                name="evaluate",
                tags="evaluating",
            ),
        ],
        namespace=namespace,
        inputs={*IMAGES, "test_images", *given},
        parameters={parameters},
        tags=namespace,
    )
