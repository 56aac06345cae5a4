"""Measures what each layer of the student bears, and allocates what goes from it."""

from model_compression.pipelines.pruning_sensitivity.pipeline import create_pipeline

__all__ = ["create_pipeline"]
