"""Common corruptions of images, as tensor operations."""

from model_compression.evaluation.corruptions.corrupt import CORRUPTIONS, SEVERITIES, corrupt

__all__ = ["CORRUPTIONS", "SEVERITIES", "corrupt"]
