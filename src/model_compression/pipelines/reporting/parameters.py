"""How the stages are compared."""

from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveInt

from model_compression.parameters import Parameters


class ReportingParameters(Parameters):
    """The latency measurement, and what is said about the result."""

    repeats: PositiveInt = 50
    """Turns that each stage's file is timed in, interleaved with the others'."""
    threads: NonNegativeInt = 1
    """Threads of an inference; 0 leaves the choice to ONNX Runtime."""
    data_name: str | None = None
    """What the images are called in the report and the model card; null: as their source is."""
    title: Annotated[str, Field(min_length=1)] = "Model compression report"
    licence: str | None = None
    """The model card's licence, as an identifier of the Hugging Face hub; null for none."""
