"""Charts of the results as plotly figures, each of which stands alone."""

from model_compression.reporting.figures.ablation import ablation_figure
from model_compression.reporting.figures.classes import confusion_figure, recall_by_class
from model_compression.reporting.figures.curves import training_curves
from model_compression.reporting.figures.latency import latency_distribution
from model_compression.reporting.figures.runs import runs_figure
from model_compression.reporting.figures.sensitivity import bits_heatmap, sensitivity_heatmap
from model_compression.reporting.figures.tradeoff import (
    accuracy_against_latency,
    accuracy_against_macs,
    accuracy_against_size,
)
from model_compression.reporting.figures.trials import trial_gains

__all__ = [
    "ablation_figure",
    "accuracy_against_latency",
    "accuracy_against_macs",
    "accuracy_against_size",
    "bits_heatmap",
    "confusion_figure",
    "latency_distribution",
    "recall_by_class",
    "runs_figure",
    "sensitivity_heatmap",
    "training_curves",
    "trial_gains",
]
