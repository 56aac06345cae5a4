"""Old classes → ``old``; new classes and ``old`` → ``kept`` and its control, ``forgotten``."""

from collections.abc import Callable, Iterable
from typing import Any

from kedro.pipeline import Node, Pipeline

from model_compression.pipelines.stage.pipeline import create_stage
from model_compression.pipelines.without_forgetting.nodes import (
    compare,
    split_classes,
    train_forgotten,
    train_kept,
    train_old,
)

PARAMETERS = "params:without_forgetting"


def create_pipeline() -> Pipeline:
    """Images → three stages and the comparison of what they know of old and new classes."""
    return Pipeline(
        [
            Node(
                split_classes,
                ["train_images", "validation_images", "test_images", PARAMETERS],
                [
                    "old_train_images",
                    "old_validation_images",
                    "old_test_images",
                    "new_train_images",
                    "new_validation_images",
                    "old_and_new_test_images",
                ],
                name="split_classes",
            ),
            _stage("old", train_old, "old", "old"),
            _stage("kept", train_kept, "new", "old_and_new", ["old"], ["teacher_answers"]),
            _stage(
                "forgotten", train_forgotten, "new", "old_and_new", ["old"], ["teacher_answers"]
            ),
            Node(
                compare,
                ["old.onnx", "kept.onnx", "forgotten.onnx", "old_and_new_test_images"],
                "without_forgetting.comparison",
                name="compare_old_and_new",
            ),
        ],
        tags="without_forgetting",
    )


def _stage(
    namespace: str,
    train: Callable[..., Any],
    images: str,
    test: str,
    sources: Iterable[str] = (),
    reads: Iterable[str] = (),
) -> Pipeline:
    """A stage on the images of some classes."""
    return Pipeline(
        create_stage(namespace, train, PARAMETERS, sources, reads),
        inputs={
            "train_images": f"{images}_train_images",
            "validation_images": f"{images}_validation_images",
            "test_images": f"{test}_test_images",
        },
    )
