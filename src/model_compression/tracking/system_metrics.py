"""Processor, memory, disk and network while a run lasts, as MLflow's page shows them.

Knows MLflow's monitors; samples go where all that is tracked goes, so nothing is asked of a server.
"""

import logging
import threading
from collections.abc import Callable

from mlflow.environment_variables import MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

logger = logging.getLogger(__name__)


def wanted() -> bool:
    """Unless ``MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING`` is ``false``."""
    said = MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING
    return bool(said.get()) if said.is_set() else True


class SystemMetrics:
    """MLflow's monitor, which samples every ten seconds, with a hand-over instead of a client."""

    def __init__(self, record: Callable[[dict[str, float], int], None]) -> None:
        """Prepares the monitors.

        Args:
            record: Takes metrics by name, and the step; called from a thread of ours.
        """
        self._monitor = SystemMetricsMonitor(run_id=None)
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
                self._monitor.collect_metrics()
                self._finished.wait(self._monitor.sampling_interval)
                values = self._monitor.aggregate_metrics()
                self._record({f"system/{name}": value for name, value in values.items()}, step)
                for monitor in self._monitor.monitors:
                    monitor.clear_metrics()
        except Exception:  # a sensor, or a server that refuses: no reason to stop a training
            logger.warning("System metrics are no longer sampled", exc_info=True)
