"""A Popen whose processes of modules, scripts and programs are forked from the zygote; all others are started as usual."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.processes.zygote import ROOT, zygote

PLAIN = (None, None, None, -1, False, -1)  # group, groups, user, umask, no session and no process group of its own


class ForkingPopen(subprocess.Popen[Any]):
    """Forks `[sys.executable, "-m", module, ...]`, `[sys.executable, "-c", program, ...]` and `[sys.executable, "script.py", ...]`:
    that saves the start of an interpreter and all imports.

    The process has its own streams, folder, environment and arguments, as if it had been started. Not forked is a process with
    other options of the interpreter or of Popen, or with another stepflow on its path.
    """

    _end: int | None = None  # a descriptor that is readable when a process that was forked has ended

    def _execute_child(self, *given: Any) -> None:
        args, executable, preexec_fn, _close_fds, pass_fds, cwd, env, _info, _flags, shell = given[:10]
        p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite, _restore_signals, *rest = given[10:]
        env = {**(os.environ if env is None else env)}
        folder = Path(cwd or ".").resolve()
        unusual = executable or preexec_fn or pass_fds or shell or tuple(rest) != PLAIN
        if unusual or not _is_program(args) or _shadows(folder, env):
            super()._execute_child(*given)  # type: ignore[misc]
            return
        descriptors = [c2pwrite if c2pwrite != -1 else 1, errwrite if errwrite != -1 else 2]
        self.pid = zygote().ask(
            {"argv": [*map(os.fspath, args[1:])], "cwd": str(folder), "env": env, "fds": [], "started": True},
            [*descriptors, p2cread if p2cread != -1 else 0],
        )
        self._child_created = True
        self._end = os.pidfd_open(self.pid)
        self._close_pipe_fds(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)  # type: ignore[attr-defined]

    def _internal_poll(self, *args: Any, **options: Any) -> int | None:
        if self._end is not None and select.select([self._end], [], [], 0)[0]:
            self._collect()
        return self.returncode if self._end is not None else super()._internal_poll(*args, **options)  # type: ignore[misc]

    def _wait(self, timeout: float | None) -> int:
        if self._end is None:
            return super()._wait(timeout)  # type: ignore[misc]
        if not select.select([self._end], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return self._collect()

    def _collect(self) -> int:
        with self._waitpid_lock:  # type: ignore[attr-defined]
            if self.returncode is None:
                self.returncode = os.waitstatus_to_exitcode(zygote().ask({"wait": self.pid, "options": 0}))
        return self.returncode

    def __del__(self, *args: Any, **options: Any) -> None:
        super().__del__(*args, **options)  # type: ignore[misc]
        if self._end is not None:
            os.close(self._end)


def _is_program(args: Any) -> bool:
    """Whether this command runs a module, a program or a script in an interpreter like that of the tests."""
    if not isinstance(args, list) or len(args) < 2 or args[0] != sys.executable:
        return False
    return (args[1] in ("-m", "-c") and len(args) > 2) or (Path(args[1]).is_absolute() and args[1].endswith(".py"))


def _shadows(folder: Path, env: dict[str, str]) -> bool:
    """Whether a process in this folder and environment would find another stepflow."""
    path = [folder, *map(Path, filter(None, env.get("PYTHONPATH", "").split(os.pathsep)))]
    found = next((one for one in path if (one / "stepflow").exists()), ROOT)
    return found.resolve() != ROOT
