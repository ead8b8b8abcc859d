"""The `stepflow` command; one file per verb; it needs the extra `stepflow[cli]`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import NoReturn

from stepflow.cli.exit_codes import WRONG_USE
from stepflow.cli.interrupts import catch_sigterm, interrupted

NEEDS = ("click", "rich")


def main() -> NoReturn:
    """Run the command line with `sys.argv` and exit."""
    args = sys.argv[1:]
    catch_sigterm(args)
    try:
        code = _run(args)
    except KeyboardInterrupt:  # while the verb was imported
        code = interrupted(args)
    sys.exit(code)


def _run(args: Sequence[str]) -> int:
    for name in NEEDS:
        if find_spec(name) is None:
            extra = "server" if args[:1] == ["serve"] else "cli"
            message = f'the command line needs {name}: pip install "stepflow[{extra}]"'
            told = json.dumps({"error": "ImportError", "message": message, "exit_code": WRONG_USE})
            sys.stderr.write(f"{told if '--json' in args else f'error: {message}'}\n")
            return WRONG_USE
    from stepflow.cli.app import run  # noqa: PLC0415 - needs the extra

    return run(args)
