"""What a run waits for before its first node."""

import subprocess
import sys
from inspect import ismodule

import pytest

from model_compression.lazy import offered_by

HEAVY = ("torchao", "torch._dynamo", "onnx_ir", "onnxscript", "sympy", "sklearn", "openvino")


def run_python(script: str) -> str:
    """The last line that a script prints; it must succeed, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].strip()


def test_pipelines_are_registered_without_what_only_some_nodes_need():
    script = (
        "import sys; import model_compression.settings; "
        "from model_compression.pipeline_registry import register_pipelines; "
        "from model_compression.tracking.identity import surroundings; surroundings(); "
        "assert 'compress' in register_pipelines(); "
        f"print([name for name in {HEAVY} + ('IPython',) if name in sys.modules])"
    )
    assert run_python(script) == "[]"


def test_the_collector_is_slowed_down_until_there_is_a_catalog():
    script = (
        "import gc; usual = gc.get_threshold(); "
        "from model_compression.start_up import StartUp; start_up = StartUp(); "
        "assert gc.isenabled() and gc.get_threshold()[0] > 100 * usual[0]; "
        "StartUp(); "  # settings may be read again
        "start_up.after_catalog_created(); assert gc.get_threshold() == usual; "
        "frozen = gc.get_freeze_count(); assert frozen > 1000; "
        "mine = [[] for _ in range(1000)]; StartUp().after_catalog_created(); "
        "assert gc.get_freeze_count() <= frozen, 'what a user made was frozen'; print('as it was')"
    )
    assert run_python(script) == "as it was"


def test_a_run_slows_the_collector_down_and_hands_it_back():
    script = (
        "import gc; usual = gc.get_threshold(); from model_compression.settings import HOOKS; "
        "assert gc.get_threshold() != usual; "
        "from kedro.framework.hooks.manager import _create_hook_manager as make; "
        "manager = make(); manager.register(HOOKS[0]); "
        "manager.hook.after_catalog_created(catalog=None, conf_catalog={}, conf_creds={}, "
        "parameters={}, save_version='', load_versions={}); "
        "print(gc.get_threshold() == usual)"
    )
    assert run_python(script) == "True"


def test_a_room_offers_all_that_it_names():
    from model_compression import deployment, quantization

    for room in (deployment, quantization):
        assert not [name for name in room.__all__ if ismodule(getattr(room, name))]


def test_what_a_room_does_not_offer_is_missing_as_in_any_module():
    get = offered_by("json", {"decoder": ["JSONDecoder"]})
    assert get("JSONDecoder").__name__ == "JSONDecoder"
    with pytest.raises(AttributeError, match="module 'json' has no attribute 'nothing'"):
        get("nothing")


def test_nothing_is_called_as_the_module_that_would_hide_it():
    with pytest.raises(ValueError, match="both a module and what it offers are called cost"):
        offered_by("room", {"cost": ["cost"]})
