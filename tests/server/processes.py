"""`stepflow serve` and `host` as processes, for tests of what they do at their start, on the network, and at a signal."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STEPFLOW = [sys.executable, "-m", "stepflow"]
LIMIT_S = 60


@contextmanager
def serving(folder: Path, *options: str, verb: str = "serve") -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server, on a free port unless `options` have one; its process and its address."""
    command = [*STEPFLOW, verb, *(("--port", "0") if verb == "serve" else ()), "--json-logs", *options]
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.search(r"running on (https?://\S+)", json.loads(line)["message"]):
                yield process, found[1]
                return
        raise AssertionError(f"the server ended with {process.wait(LIMIT_S)}")
    finally:
        process.kill()
        process.communicate()
