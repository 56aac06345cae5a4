"""Which runs are compared."""

from typing import Annotated

from pydantic import Field

from model_compression.parameters import Parameters


class CompareRunsParameters(Parameters):
    """What is read from MLflow."""

    experiments: Annotated[list[str], Field(min_length=1)]
    """Names of MLflow experiments."""
    trials: bool = True
    """Whether the trials of ``ablation`` and ``distillation_benchmark`` are there beside the
    stages."""
