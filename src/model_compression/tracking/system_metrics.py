"""Processor, memory, disk and network while a run lasts, as MLflow's page shows them.

Knows MLflow's monitors; samples go where all that is tracked goes, so nothing is asked of a server.
"""

import logging
import threading
from collections.abc import Callable

from mlflow.environment_variables import (
    MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING,
    MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL,
)
from mlflow.system_metrics.metrics.base_metrics_monitor import BaseMetricsMonitor
from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

logger = logging.getLogger(__name__)

SAMPLING_INTERVAL = 10.0
"""Seconds, as in MLflow."""


def wanted() -> bool:
    """Unless ``MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING`` is ``false``."""
    said = MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING
    return bool(said.get()) if said.is_set() else True


class SystemMetrics:
    """MLflow's monitors in a thread of ours: its own one asks the server for the run each time."""

    def __init__(self, record: Callable[[dict[str, float], int], None]) -> None:
        """Prepares the monitors.

        Args:
            record: Takes metrics by name, and the step; called from a thread of ours.
        """
        self._monitors = [CPUMonitor(), DiskMonitor(), NetworkMonitor(), *_gpu()]
        self._interval = MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL.get() or SAMPLING_INTERVAL
        self._record = record
        self._finished = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True, name="SystemMetrics")

    def start(self) -> None:
        """Starts to sample."""
        self._thread.start()

    def finish(self) -> None:
        """Takes the last sample, and ends the thread."""
        self._finished.set()
        self._thread.join()

    def _sample(self) -> None:
        step = 0
        try:
            while not self._finished.is_set():
                step += 1  # from 1: MLflow takes what is logged at step 0 for a model's own
                for monitor in self._monitors:
                    monitor.collect_metrics()
                self._finished.wait(self._interval)
                values: dict[str, float] = {}
                for monitor in self._monitors:
                    values |= monitor.aggregate_metrics()
                    monitor.clear_metrics()
                self._record({f"system/{name}": value for name, value in values.items()}, step)
        except Exception:  # a sensor, or a server that refuses: no reason to stop a training
            logger.warning("System metrics are no longer sampled", exc_info=True)


def _gpu() -> list[BaseMetricsMonitor]:
    """The monitor of NVIDIA's processors, where there are some and its package is installed."""
    try:
        return [GPUMonitor()]
    except Exception:  # whatever the driver's library raises: there is nothing to sample then
        return []
