"""Kedro's project settings."""

from model_compression.start_up import StartUp

start_up = StartUp()  # before the imports below, which take a third less by it

from kedro.config import OmegaConfigLoader
from rich import get_console

from model_compression.graph_colours import GraphColours
from model_compression.known_parameters import KnownParameters
from model_compression.several_processes import (
    SeveralProcesses,
    follows,
    report_only_trouble,
)
from model_compression.tracking.hook import Tracking

# Rich wraps at 80 columns where it sees no terminal; a log file reads better with a line a record.
if not get_console().is_terminal:
    get_console().width = 200

HOOKS: tuple[object, ...] = (
    start_up,
    KnownParameters(),
    GraphColours(),
    Tracking(),
    SeveralProcesses(),
)
if follows():
    # Under torchrun, all processes but the first only train along: the run is the first one's.
    HOOKS = (start_up, KnownParameters(), SeveralProcesses())
    report_only_trouble()

# Tracking extends kedro-mlflow's own hook, which would otherwise run beside it.
DISABLE_HOOKS_FOR_PLUGINS = ("kedro_mlflow", "kedro-telemetry")

CONFIG_LOADER_CLASS = OmegaConfigLoader
CONFIG_LOADER_ARGS = {
    "config_patterns": {"mlflow": ["mlflow*", "mlflow*/**", "**/mlflow*"]},
    "base_env": "base",
    "default_run_env": "local",
    "merge_strategy": {"parameters": "soft", "globals": "soft", "mlflow": "soft"},
}
