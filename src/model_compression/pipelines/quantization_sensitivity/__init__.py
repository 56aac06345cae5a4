"""Measures how few bits each layer of the pruned network bears, and assigns them."""

from model_compression.pipelines.quantization_sensitivity.pipeline import create_pipeline

__all__ = ["create_pipeline"]
