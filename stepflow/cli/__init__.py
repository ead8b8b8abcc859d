"""The `stepflow` command; one file per verb; it needs the extra `stepflow[cli]`."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from typing import NoReturn

NEEDS = ("click", "rich")


def main() -> NoReturn:
    """Run the command line with `sys.argv` and exit."""
    for name in NEEDS:
        if find_spec(name) is None:
            extra = "server" if sys.argv[1:2] == ["serve"] else "cli"
            message = f'the command line needs {name}: pip install "stepflow[{extra}]"'
            told = json.dumps({"error": "ImportError", "message": message, "exit_code": 2})
            sys.stderr.write(f"{told if '--json' in sys.argv else f'error: {message}'}\n")
            sys.exit(2)
    from stepflow.cli.app import run  # noqa: PLC0415 - needs the extra

    sys.exit(run())
