"""`python -m model_compression`: Kedro's run command for the installed package."""

import sys
from pathlib import Path
from typing import Any

from kedro.framework.cli.utils import find_run_command
from kedro.framework.project import configure_project


def main(*args: Any, **kwargs: Any) -> Any:
    """Runs a pipeline as `kedro run` would, with the same options."""
    package_name = Path(__file__).parent.name
    configure_project(package_name)
    interactive = hasattr(sys, "ps1")
    kwargs["standalone_mode"] = not interactive
    return find_run_command(package_name)(*args, **kwargs)


if __name__ == "__main__":
    main()
