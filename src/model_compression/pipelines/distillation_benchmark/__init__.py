"""Compares ways to teach one student."""

from model_compression.pipelines.distillation_benchmark.pipeline import create_pipeline

__all__ = ["create_pipeline"]
