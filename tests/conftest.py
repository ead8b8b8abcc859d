"""Every run of the suite tries the same examples, `make soak` looks for new ones; failures of the kit show their values."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

MEMORY = Path("/dev/shm")
ROOM = 4 << 30  # bytes that must be free there


def use_memory() -> None:
    """Let temporary folders lie in memory where there is room for them.

    No test stops the machine, so a wait for the disk proves nothing. With TMPDIR they lie where that says.
    """
    if "TMPDIR" not in os.environ and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM:
        folder = MEMORY / f"stepflow-tests-{os.getuid()}"
        folder.mkdir(mode=0o755, exist_ok=True)  # the user of a PostgreSQL server has to enter it
        os.environ["TMPDIR"] = str(folder)  # for processes, too
        tempfile.tempdir = None


def keep_bytecode() -> None:
    """Let the processes of the tests share compiled code, also where none may lie beside the source.

    Without it most of the time of a short process is that of the compiler.
    """
    if sys.dont_write_bytecode and "PYTHONPYCACHEPREFIX" not in os.environ:
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = str(Path(tempfile.gettempdir()) / "stepflow-tests-bytecode")


use_memory()
keep_bytecode()
pytest.register_assert_rewrite("stepflow.testing.conformance")
# A busy machine makes any example slow: time is no reason to fail. pytest-timeout ends a test that does not end.
ANYWHERE = settings(deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("repeatable", ANYWHERE, derandomize=True)
settings.register_profile("exploring", ANYWHERE)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))
