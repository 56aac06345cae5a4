"""What a classifier is worth and what it costs, in numbers."""

from model_compression.evaluation.accuracy import AccuracySummary, summarise
from model_compression.evaluation.calibration import expected_calibration_error, softmax
from model_compression.evaluation.classification import classification_tables
from model_compression.evaluation.cost import count_macs, count_parameters
from model_compression.evaluation.inference import Score, predict_logits, score
from model_compression.evaluation.intervals import wilson_interval
from model_compression.evaluation.modes import device_of, evaluating
from model_compression.evaluation.paired import PairedResult, mcnemar_test

__all__ = [
    "AccuracySummary",
    "PairedResult",
    "Score",
    "classification_tables",
    "count_macs",
    "count_parameters",
    "device_of",
    "evaluating",
    "expected_calibration_error",
    "mcnemar_test",
    "predict_logits",
    "score",
    "softmax",
    "summarise",
    "wilson_interval",
]
