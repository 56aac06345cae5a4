"""Each stage's file → accuracy under corruptions, train-test gap, reliability → a chapter."""

from kedro.pipeline import Node, Pipeline

from model_compression.pipelines.generalisation.comparison import (
    compare_classes,
    compare_generalisation,
    draw_generalisation,
    find_disagreements,
    write_chapter,
)
from model_compression.pipelines.generalisation.nodes import (
    measure_generalisation,
    measure_reliability,
)

STAGES = ("teacher", "student", "pruned", "quantized")

SHARED = ("test_images", "train_images")
PARAMETERS = "params:generalisation"


def create_pipeline() -> Pipeline:
    """The same two measurements of all stages."""
    return Pipeline([create_measurement(stage) for stage in STAGES], tags="generalisation")


def create_measurement(namespace: str) -> Pipeline:
    """What is measured of one stage, all of whose outputs are named ``<namespace>.…``.

    It is no part of the stage itself, so that a study of many stages need not pay for it.
    """
    return Pipeline(
        [
            Node(
                measure_generalisation,
                ["onnx", *SHARED, "predictions", PARAMETERS, "known_generalisation"],
                ["corruptions", "generalisation"],
                name="measure_generalisation",
            ),
            Node(measure_reliability, "predictions", "reliability", name="measure_reliability"),
        ],
        namespace=namespace,
        inputs={*SHARED},
        parameters={PARAMETERS},
        tags=namespace,
    )


def comparison_nodes() -> list[Node]:
    """The stages side by side, for the reporting pipeline, which brings their results together.

    They read what it gathers: ``corruptions_by_stage``, ``generalisations``, ``reliabilities``,
    ``predictions_by_stage``, ``evaluations`` and ``confusions``, and ``judged_evaluations``, which
    are known to be those of the files, and ``recommendation``.
    """
    return [
        Node(
            compare_generalisation,
            [
                "generalisations",
                "corruptions_by_stage",
                "predictions_by_stage",
                "judged_evaluations",
            ],
            "generalisation_comparison",
            name="compare_generalisation",
        ),
        Node(
            compare_classes,
            ["predictions_by_stage", "confusions"],
            "class_changes",
            name="compare_classes",
        ),
        Node(
            find_disagreements,
            ["predictions_by_stage", "recommendation"],
            "disagreements",
            name="find_disagreements",
        ),
        Node(
            draw_generalisation,
            ["corruptions_by_stage", "reliabilities", "class_changes"],
            ["corruption_accuracy_figure", "reliability_figure", "class_changes_figure"],
            name="draw_generalisation",
        ),
        Node(
            write_chapter,
            [
                "generalisation_comparison",
                "corruptions_by_stage",
                "reliabilities",
                "evaluations",
                "class_changes",
                "disagreements",
                "recommendation",
                "test_images",
            ],
            "generalisation_chapter",
            name="write_generalisation_chapter",
        ),
    ]
