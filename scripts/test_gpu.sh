#!/usr/bin/env bash
# Runs the tests that need a GPU. Without one it fails: a test that was skipped has shown nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}

"$python" - <<'CHECK'
import sys

import torch

if not torch.cuda.is_available():
    sys.exit(
        f"The tests in tests/gpu need a CUDA device, but PyTorch {torch.__version__} sees none: "
        "run this on a machine with one, with a CUDA build of PyTorch in its environment."
    )
print(f"{torch.cuda.get_device_name()}; PyTorch {torch.__version__}; CUDA {torch.version.cuda}")
CHECK

exec "$python" -m pytest tests/gpu "$@"
