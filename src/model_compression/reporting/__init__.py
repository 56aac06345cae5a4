"""Tables, figures, the HTML report and the model card, from plain data.

Knows neither torch, Kedro nor MLflow.
"""

from model_compression.reporting.ablation import (
    ABLATION_COLUMNS,
    EFFECT_COLUMNS,
    ablation_effects,
    ablation_table,
)
from model_compression.reporting.comparison import COLUMNS, comparison_table
from model_compression.reporting.figures import (
    ablation_figure,
    accuracy_against_latency,
    accuracy_against_macs,
    accuracy_against_size,
    bits_heatmap,
    confusion_figure,
    latency_distribution,
    recall_by_class,
    runs_figure,
    sensitivity_heatmap,
    training_curves,
    trial_gains,
)
from model_compression.reporting.model_card import render_model_card
from model_compression.reporting.provenance import gather_provenance
from model_compression.reporting.report import render_report
from model_compression.reporting.runs import RUN_COLUMNS, run_table
from model_compression.reporting.runs_page import render_runs
from model_compression.reporting.sections import (
    Block,
    Cell,
    Chart,
    Code,
    Facts,
    Gallery,
    Picture,
    Pictures,
    Section,
    Table,
    table_of,
)
from model_compression.reporting.trials import TRIAL_COLUMNS, trial_table
from model_compression.reporting.verdict import Verdict, verdict

__all__ = [
    "ABLATION_COLUMNS",
    "COLUMNS",
    "EFFECT_COLUMNS",
    "RUN_COLUMNS",
    "TRIAL_COLUMNS",
    "Block",
    "Cell",
    "Chart",
    "Code",
    "Facts",
    "Gallery",
    "Picture",
    "Pictures",
    "Section",
    "Table",
    "Verdict",
    "ablation_effects",
    "ablation_figure",
    "ablation_table",
    "accuracy_against_latency",
    "accuracy_against_macs",
    "accuracy_against_size",
    "bits_heatmap",
    "comparison_table",
    "confusion_figure",
    "gather_provenance",
    "latency_distribution",
    "recall_by_class",
    "render_model_card",
    "render_report",
    "render_runs",
    "run_table",
    "runs_figure",
    "sensitivity_heatmap",
    "table_of",
    "training_curves",
    "trial_gains",
    "trial_table",
    "verdict",
]
