"""`python -m model_compression`: Kedro's run command for the installed package, and our own."""

import sys
from pathlib import Path
from typing import Any

from kedro.framework.cli.utils import find_run_command
from kedro.framework.project import configure_project

from model_compression.commands import COMMANDS


def main(*args: Any, **kwargs: Any) -> Any:
    """Runs a command of ours if the first word names one, or else a pipeline as `kedro run` would.

    What is not a command's name goes to Kedro, with the same options.
    """
    interactive = hasattr(sys, "ps1")
    kwargs["standalone_mode"] = not interactive
    words = list(args[0] if args else sys.argv[1:])
    if words and words[0] in COMMANDS:
        name, *words = words
        return COMMANDS[name](words, prog_name=f"model_compression {name}", **kwargs)
    package_name = Path(__file__).parent.name
    configure_project(package_name)
    return find_run_command(package_name)(*args, **kwargs)


if __name__ == "__main__":
    main()
