"""Prunes the student."""

from model_compression.pipelines.pruning.pipeline import create_pipeline

__all__ = ["create_pipeline"]
