"""Shows what each step of the flow gives alone and together with the others."""

from model_compression.pipelines.ablation.pipeline import create_pipeline

__all__ = ["create_pipeline"]
