"""How far each stage's file can be trusted beyond the test images as they are."""

from model_compression.pipelines.generalisation.pipeline import create_pipeline

__all__ = ["create_pipeline"]
