"""Everything here needs a CUDA device, and is skipped without one; scripts/test_gpu.sh insists."""

from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    without = pytest.mark.skip(
        reason="PyTorch sees no CUDA device; scripts/test_gpu.sh runs this on a machine with one"
    )
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.gpu)
            if not torch.cuda.is_available():
                item.add_marker(without)


@pytest.fixture
def cuda() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device())


@pytest.fixture
def no_waiting():
    """Within it, whatever makes the host wait for the device is an error."""

    class NoWaiting:
        def __enter__(self) -> None:
            torch.cuda.synchronize()
            torch.cuda.set_sync_debug_mode("error")

        def __exit__(self, *exception: object) -> None:
            torch.cuda.set_sync_debug_mode("default")

    return NoWaiting
