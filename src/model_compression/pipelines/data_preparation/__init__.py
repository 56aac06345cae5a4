"""Decodes and splits the images."""

from model_compression.pipelines.data_preparation.pipeline import create_pipeline

__all__ = ["create_pipeline"]
