"""The `stepflow` command; one file per verb; it needs the extra `stepflow[cli]`."""

from __future__ import annotations

import sys
from typing import NoReturn

NEEDS = ("click", "rich")


def main() -> NoReturn:
    """Run the command line with `sys.argv` and exit."""
    try:
        from stepflow.cli.app import run  # noqa: PLC0415 - needs the extra
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.partition(".")[0] not in NEEDS:
            raise
        sys.stderr.write(f'error: the command line needs {missing.name}: pip install "stepflow[cli]"\n')
        sys.exit(2)
    sys.exit(run())
