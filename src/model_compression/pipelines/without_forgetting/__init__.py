"""Teaches a trained network new classes, with and without forgetting the old ones."""

from model_compression.pipelines.without_forgetting.pipeline import create_pipeline

__all__ = ["create_pipeline"]
