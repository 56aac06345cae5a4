"""Images and ``pruned`` → sensitivities → heat map, bits of layers, comparison."""

from kedro.pipeline import Node, Pipeline

from model_compression.pipelines.quantization_sensitivity.nodes import assign_bits, draw, scan

READ = ["validation_images", "pruned.checkpoint"]


def create_pipeline() -> Pipeline:
    """How few bits the pruned network's layers bear, and how a target is best met by them."""
    return Pipeline(
        [
            Node(
                scan,
                [*READ, "params:quantization_sensitivity"],
                "quantization_sensitivity.table",
                name="scan_bits",
            ),
            Node(
                draw,
                "quantization_sensitivity.table",
                "quantization_sensitivity_figure",
                name="draw_bits",
            ),
            Node(
                assign_bits,
                [*READ, "quantization_sensitivity.table", "params:quantization_sensitivity"],
                ["quantization_sensitivity.allocation", "quantization_sensitivity.comparison"],
                name="assign_bits",
            ),
        ],
        tags="quantization_sensitivity",
    )
