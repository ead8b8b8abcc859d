"""Every run of the suite tries the same examples, `make soak` looks for new ones; failures of the kit show their values."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

TESTS = Path(__file__).parent
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
    """Let this process and those of the tests share compiled code, also where none may lie beside the source.

    Without it most of the time of a short process is that of the compiler, and each process of the tests spends as long as on
    a hundred of them on the assertions that pytest rewrites.
    """
    if sys.dont_write_bytecode and sys.pycache_prefix is None:
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = str(Path(tempfile.gettempdir()) / "stepflow-tests-bytecode")
        sys.dont_write_bytecode, sys.pycache_prefix = False, os.environ["PYTHONPYCACHEPREFIX"]


def encodable(value: Any) -> Any:
    """The same, in texts of which a half of a character pair is written as an escape."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {encodable(key): encodable(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(encodable(one) for one in value)
    return value


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """A test that printed or logged such a text would end all tests: pytest-xdist can send no report of it."""
    return encodable((yield))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than processors: tests wait for other processes, for beats and for silence, which uses none."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Let each process of a run of all tests begin with other modules.

    Where there is no bytecode yet, each would otherwise compile all of them, at the same moment as the others: two thirds of the
    time until its first test.
    """
    process: dict[str, Any] = getattr(session.config, "workerinput", {})
    if process and [Path(arg).resolve() for arg in session.config.args] == [TESTS]:
        number, count = int(process["workerid"].removeprefix("gw")), process["workercount"]
        for path in sorted(TESTS.rglob("test_*.py"))[number::count]:
            with suppress(Exception, pytest.skip.Exception):  # which its collection reports
                import_module(".".join(path.relative_to(TESTS.parent).with_suffix("").parts))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the checks of types: at the end, one of them would keep a processor busy while the others have nothing left.

    Each takes a minute alone, and several beside other programs.
    """
    items.sort(key=lambda item: item.path.parent.name != "typing")
    for item in items:
        if item.path.parent.name == "typing":
            item.add_marker(pytest.mark.timeout(1200))


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Let the collector pass over what was loaded for the tests: all of it stays to the end."""
    gc.freeze()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Any]:
    """The PostgreSQL server of this test process, of the newest version; one for all folders, as a start takes two seconds."""
    from tests.postgres.server import Server

    server = Server(18)
    yield server
    server.close()


@pytest.fixture(scope="module")
def forking() -> Iterator[None]:
    """Fork the processes that a module starts (`tests/processes/forking.py`), unless it tests the start of an interpreter."""
    from tests.processes.forking import ForkingPopen

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "Popen", ForkingPopen)
        yield


@pytest.fixture(scope="session")
def profile() -> Iterator[Any]:
    """A profile of the Chromium of this test process; an empty tab keeps what a new one would load again: half a second of a processor."""
    from tests.ui.browser import Browser

    browser = Browser()
    profile = browser.context(viewport={"width": 1200, "height": 800})
    profile.new_page()
    yield profile
    profile.close()
    browser.close()


def hear_interrupts() -> None:
    """A shell that runs the tests in the background hands down that SIGINT is ignored, also to the processes of tests."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


use_memory()
keep_bytecode()
hear_interrupts()
pytest.register_assert_rewrite("stepflow.testing.conformance")
# A busy machine makes any example slow: time is no reason to fail. pytest-timeout ends a test that does not end.
ANYWHERE = settings(deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("repeatable", ANYWHERE, derandomize=True)
settings.register_profile("exploring", ANYWHERE)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))
