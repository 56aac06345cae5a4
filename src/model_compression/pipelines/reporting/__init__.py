"""Compares the stages."""

from model_compression.pipelines.reporting.pipeline import create_pipeline

__all__ = ["create_pipeline"]
