"""Compares all runs that MLflow knows of."""

from model_compression.pipelines.compare_runs.pipeline import create_pipeline

__all__ = ["create_pipeline"]
