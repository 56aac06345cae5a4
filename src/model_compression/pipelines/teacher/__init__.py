"""Trains the teacher."""

from model_compression.pipelines.teacher.pipeline import create_pipeline

__all__ = ["create_pipeline"]
