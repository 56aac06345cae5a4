"""Quantizes the pruned network."""

from model_compression.pipelines.quantization.pipeline import create_pipeline

__all__ = ["create_pipeline"]
