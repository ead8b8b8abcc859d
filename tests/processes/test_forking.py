"""A process that is forked is what a started one would be: arguments, folder, streams, environment, warnings, signals, end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.house.pages import ROOT
from tests.processes.forking import ForkingPopen

TOLD = """
import os, signal, sys, warnings
print(sys.argv[1:], os.path.basename(sys.argv[0]), sys.path[0] == "", globals().get("__file__"), os.getcwd(), os.environ["GIVEN"], "PATH" in os.environ, __name__, sys.path[0] == os.getcwd())
print(sys.stdin.read().upper(), sys.stdout.line_buffering, sys.stdout.isatty())
print(signal.getsignal(signal.SIGINT) is signal.default_int_handler, signal.getsignal(signal.SIGTERM))
warnings.warn("said", DeprecationWarning)
print("to errors", file=sys.stderr)
import atexit
atexit.register(print, "at the end")
sys.exit(int(sys.argv[1]))
"""
BUSY = "print('busy', flush=True)\nimport threading\nthreading.Event().wait()\n"
POPENS = pytest.mark.parametrize("popen", [subprocess.Popen, ForkingPopen])


def started(popen: type[Any], folder: Path, text: str, *words: str, kind: str = "module") -> Any:
    (folder / "told.py").write_text(text)
    env = {"GIVEN": "5", "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    begins = {"module": ["-m", "told"], "program": ["-c", text], "script": [f"{folder}/told.py"]}
    command = [sys.executable, *begins[kind], *words]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return popen(command, cwd=folder, env=env, text=True, **pipes)


@pytest.mark.parametrize("kind", ["module", "program", "script"])
def test_it_finds_the_same_and_ends_alike(tmp_path, kind):
    found = []
    for popen in (subprocess.Popen, ForkingPopen):
        process = started(popen, tmp_path, TOLD, "7", "two words", kind=kind)
        found.append((process.communicate("given\n", timeout=60), process.returncode))
    assert found[1] == found[0]
    assert found[0][1] == 7


@POPENS
def test_it_dies_of_a_signal(tmp_path, popen):
    with started(popen, tmp_path, BUSY) as process:
        assert process.stdout.readline() == "busy\n"
        assert process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.01)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait(60) == process.poll() == process.returncode == -signal.SIGKILL
        process.kill()  # of a process that has ended: nothing


def test_only_what_runs_this_checkout_is_forked(tmp_path):
    (tmp_path / "stepflow").mkdir()
    for command, folder in (
        ([sys.executable, "-Ic", "pass"], None),
        ([sys.executable, "-I", "-m", "this"], None),
        (["true"], None),
        ([sys.executable, "-m", "this"], tmp_path),
    ):
        with ForkingPopen(command, cwd=folder, stdout=subprocess.DEVNULL) as process:
            assert process._end is None
        assert process.returncode == 0
