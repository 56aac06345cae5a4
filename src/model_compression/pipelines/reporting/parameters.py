"""How the stages are compared."""

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from model_compression.deployment.openvino_runtime import MISSING, openvino_installed
from model_compression.parameters import Parameters


class ReportingParameters(Parameters):
    """The latency measurement, and what is said about the result."""

    repeats: PositiveInt = 50
    """Turns that each stage's file is timed in, interleaved with the others'."""
    threads: NonNegativeInt = 1
    """Threads of an inference; 0 leaves the choice to the runtime."""
    runtimes: tuple[Literal["onnxruntime", "openvino"], ...] = ("onnxruntime",)
    """Where the files are timed. Others than ONNX Runtime get a table of their own."""
    data_name: str | None = None
    """What the images are called in the report and the model card; null: as their source is."""
    title: Annotated[str, Field(min_length=1)] = "Model compression report"
    dataset_id: Annotated[str, Field(pattern=r"^[\w.-]+(/[\w.-]+)?$", max_length=96)] | None = None
    """The images' identifier on the Hugging Face hub, such as ``zalando-datasets/fashion_mnist``,
    for the model card; null takes their name in the hub's form."""
    licence: str | None = None
    """The model card's licence, as an identifier of the Hugging Face hub; null for none."""

    @model_validator(mode="after")
    def _check_runtimes(self) -> Self:
        if "onnxruntime" not in self.runtimes or len(set(self.runtimes)) < len(self.runtimes):
            raise ValueError(
                "runtimes: expected onnxruntime, with which the others are compared, and each "
                f"name once; got {list(self.runtimes)}"
            )
        # Said here, before a stage is trained, and not by the last node.
        if "openvino" in self.runtimes and not openvino_installed():
            raise ValueError(f"runtimes: {MISSING} Or leave openvino out.")
        return self
