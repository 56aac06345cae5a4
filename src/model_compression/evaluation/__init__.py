"""What a classifier is worth and what it costs, in numbers."""

from model_compression.evaluation.accuracy import AccuracySummary, summarise
from model_compression.evaluation.against import class_changes, disagreements
from model_compression.evaluation.calibration import (
    expected_calibration_error,
    reliability_table,
    softmax,
)
from model_compression.evaluation.classification import classification_tables
from model_compression.evaluation.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from model_compression.evaluation.cost import count_macs, count_parameters
from model_compression.evaluation.inference import Score, Tally, predict_logits, score, tally
from model_compression.evaluation.intervals import difference_interval, wilson_interval
from model_compression.evaluation.modes import device_of, evaluating
from model_compression.evaluation.paired import PairedResult, mcnemar_test, paired_interval
from model_compression.evaluation.robustness import (
    accuracy_by_corruption,
    accuracy_under_corruptions,
    mean_corruption_accuracy,
    mean_corruption_error,
)

__all__ = [
    "CORRUPTIONS",
    "SEVERITIES",
    "AccuracySummary",
    "PairedResult",
    "Score",
    "Tally",
    "accuracy_by_corruption",
    "accuracy_under_corruptions",
    "class_changes",
    "classification_tables",
    "corrupt",
    "count_macs",
    "count_parameters",
    "device_of",
    "difference_interval",
    "disagreements",
    "evaluating",
    "expected_calibration_error",
    "mcnemar_test",
    "mean_corruption_accuracy",
    "mean_corruption_error",
    "paired_interval",
    "predict_logits",
    "reliability_table",
    "score",
    "softmax",
    "summarise",
    "tally",
    "wilson_interval",
]
