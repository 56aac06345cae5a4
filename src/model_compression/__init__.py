"""Takes an image classifier from accurate but too big to small, fast and proven."""

import os

__version__ = "0.1.0"

# MLflow asks a server of its makers' whether it may send usage data, in a thread, and a run can
# hang for good where that thread and the main one import at the same moment (MLflow 3.17). Nobody
# was asked, either. Whoever wants it sets this to false.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
