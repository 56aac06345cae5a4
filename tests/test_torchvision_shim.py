import importlib
import subprocess
import sys
from types import ModuleType

import pytest

from model_compression import torchvision_shim
from model_compression.torchvision_shim import import_torchvision


def failing_import(*errors: Exception) -> object:
    """Stands in for import_module: raises one error after the other, then gives a module."""
    remaining = list(errors)

    def stand_in(name: str) -> ModuleType:
        if remaining:
            raise remaining.pop(0)
        return ModuleType(name)

    return stand_in


class RecordingLibrary:
    defined: list[str] = []  # noqa: RUF012

    def __init__(self, namespace: str, kind: str) -> None:
        assert (namespace, kind) == ("torchvision", "FRAGMENT")

    def define(self, schema: str) -> None:
        self.defined.append(schema)


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(RecordingLibrary, "defined", [])
    monkeypatch.setattr(torchvision_shim, "Library", RecordingLibrary)
    monkeypatch.setattr(torchvision_shim, "_defined", [])
    return RecordingLibrary.defined


def test_networks_and_datasets_can_be_used() -> None:
    torchvision = import_torchvision()
    assert torchvision is import_torchvision()
    assert sum(p.numel() for p in torchvision.models.resnet18().parameters()) == 11_689_512
    assert torchvision.datasets.CIFAR10.__name__ == "CIFAR10"


def test_importing_the_package_does_not_import_torchvision() -> None:
    code = "import sys, model_compression.images; print('torchvision' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert result.stdout.strip() == b"False"


def test_a_torchvision_that_loads_is_left_alone(
    recorded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib, "import_module", failing_import())
    assert import_torchvision().__name__ == "torchvision"
    assert recorded == []


def test_missing_operators_are_declared_and_the_import_tried_again(
    recorded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = RuntimeError("operator torchvision::nms does not exist")
    monkeypatch.setattr(importlib, "import_module", failing_import(missing))
    assert import_torchvision().__name__ == "torchvision"
    assert [schema.split("(")[0] for schema in recorded] == ["nms", "qnms"]


def test_operators_are_declared_once_only(
    recorded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = RuntimeError("operator torchvision::nms does not exist")
    monkeypatch.setattr(importlib, "import_module", failing_import(missing, missing, missing))
    for _ in range(2):
        with pytest.raises(RuntimeError, match="nms"):
            import_torchvision()
    assert len(recorded) == 2


@pytest.mark.parametrize("error", [RuntimeError("out of file handles"), ImportError("no module")])
def test_any_other_error_is_not_hidden(
    error: Exception, recorded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib, "import_module", failing_import(error))
    with pytest.raises(type(error), match=str(error)):
        import_torchvision()
    assert recorded == []
