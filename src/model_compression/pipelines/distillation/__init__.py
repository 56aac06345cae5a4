"""Distils the student."""

from model_compression.pipelines.distillation.pipeline import create_pipeline

__all__ = ["create_pipeline"]
