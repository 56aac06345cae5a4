"""Raw images → train, validation and test images, and normalisation constants."""

from kedro.pipeline import Node, Pipeline

from model_compression.pipelines.data_preparation.nodes import normalize, read_images


def create_pipeline() -> Pipeline:
    """The pipeline that every other one starts from."""
    return Pipeline(
        [
            Node(
                read_images,
                ["raw_folder", "params:data"],
                ["train_images", "validation_images", "test_images"],
                name="read_images",
            ),
            Node(normalize, "train_images", "normalization", name="normalize"),
        ],
        tags="data_preparation",
    )
