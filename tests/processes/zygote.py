"""A process that has loaded what the processes of the tests need, and forks one of them at each request.

An interpreter that loads stepflow takes 0.3 s of a processor, a fork a few milliseconds. What is forked is a process like any other:
it has a pid, dies of its signals alone, and ends as an interpreter does.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import warnings
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from attrs import define, field

ROOT = Path(__file__).parents[2]
LONGEST = 1 << 16  # bytes of a request
NOTHING: dict[str, int] = {}
LOADED = (  # what most of the processes need
    "tests.processes.child",
    "stepflow.drivers.postgres",
    "stepflow.drivers.rocksdb",
    "stepflow.cli.app",
    "stepflow.cli.worker",
    "stepflow.cli.host",
    "stepflow.cli.serve",
    "stepflow.server.app",
    "uvicorn.protocols.http.auto",
    "uvicorn.lifespan.on",
)


@define(eq=False)
class Forked:
    """A process of the zygote, used as a Popen."""

    zygote: Zygote
    pid: int
    returncode: int | None = None
    _end: int = field(init=False)  # a descriptor that is readable when the process has ended

    def __attrs_post_init__(self) -> None:
        self._end = os.pidfd_open(self.pid)

    def poll(self) -> int | None:
        return self._collect() if select.select([self._end], [], [], 0)[0] else None

    def wait(self, timeout: float | None = None) -> int:
        if not select.select([self._end], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
        return self._collect()

    def wait_until_stopped(self) -> None:
        self.zygote.ask({"wait": self.pid, "options": os.WUNTRACED})

    def send_signal(self, signum: int) -> None:
        if self.poll() is None:
            signal.pidfd_send_signal(self._end, signum)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _collect(self) -> int:
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(self.zygote.ask({"wait": self.pid, "options": 0}))
        return self.returncode

    def __del__(self) -> None:
        os.close(self._end)


class Zygote:
    """The zygote of this test process; it ends with it."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._turn = threading.Lock()
        with theirs:
            command = [sys.executable, "-X", "faulthandler", "-m", __name__, str(theirs.fileno())]
            env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"}
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=env,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )

        atexit.register(self.close)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)  # a process that was forked here may have a copy of it
        self._socket.close()
        self._process.wait()

    def fork(
        self,
        argv: list[str],
        cwd: Path,
        env: dict[str, str],
        *,
        output: int,
        errors: int,
        fds: dict[str, int] = NOTHING,
    ) -> Forked:
        """A process of a script, if `argv` begins with its path, of a module as main module, if with `-m` and its name,
        or of a module's `main`, if with its name.

        `output` and `errors` are the descriptors that it writes to, `fds` variables of its environment that name others.
        """
        request = {"argv": argv, "cwd": str(cwd), "env": env, "fds": list(fds)}
        return Forked(self, self.ask(request, [output, errors, *fds.values()]))

    def ask(self, request: dict[str, Any], fds: list[int] | None = None) -> int:
        with self._turn:
            socket.send_fds(self._socket, [json.dumps(request).encode()], fds or [])
            answer = self._socket.recv(LONGEST)
        assert answer, "the zygote has ended: what it wrote is in the output of the tests"
        return int(answer)


@cache
def zygote() -> Zygote:
    return Zygote()


def serve(requests: socket.socket) -> bool:
    """Answer requests to the end; True in a forked process, which has the arguments of its request."""
    while True:
        text, fds, _flags, _address = socket.recv_fds(requests, LONGEST, 8)
        if not text:
            return False
        request = json.loads(text)
        if "wait" in request:
            requests.send(b"%d" % os.waitpid(request["wait"], request["options"])[1])
        elif pid := os.fork():
            for fd in fds:
                os.close(fd)
            requests.send(b"%d" % pid)
        else:
            requests.close()
            become(request, fds)
            return True


def become(request: dict[str, Any], fds: list[int]) -> None:
    """Let this process be what `subprocess` would have started."""
    from tests.processes import flows

    standards = (1, 2, 0) if request.get("started") else (1, 2)
    for fd, standard in zip(fds, standards, strict=False):
        os.dup2(fd, standard)
        os.close(fd)
    named = fds[len(standards) :]
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ |= request["env"] | {name: str(fd) for name, fd in zip(request["fds"], named, strict=True)}
    flows.LOG_FD, flows.GATE_FD = (int(os.environ.get(name, "-1")) for name in ("TEST_LOG", "TEST_GATE"))
    flows.WHO = os.environ.get("TEST_WHO", "")
    sys.argv = request["argv"]
    sys.path[0] = request["cwd"]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if request.get("started"):
        obey_environment()


def obey_environment() -> None:
    """Do what an interpreter does at its start with variables that the zygote did not have."""
    sys.path[1:1] = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path not in sys.path]
    for option in filter(None, os.environ.get("PYTHONWARNINGS", "").split(",")):
        warnings._setoption(option)  # type: ignore[attr-defined]
    if "PYTHONUNBUFFERED" not in os.environ:
        sys.stdout = os.fdopen(1, "w", 1 if os.isatty(1) else -1, closefd=False)
        vars(sys)["__stdout__"] = sys.stdout  # final to type checkers


def run(program: str) -> None:
    """Run what the arguments of this process begin with."""
    if program == "-m":
        del sys.argv[0]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    elif program == "-c":
        sys.path[0] = ""
        run_as_main(sys.argv.pop(1), "<string>")
    elif program.endswith(".py"):
        run_script(program)
    else:
        import_module(program).main()


def run_script(program: str) -> None:
    """Run a script as the main module."""
    if os.environ.get("PYTHONWARNINGS") == "error":
        warnings.simplefilter("error")
    sys.path[0] = str(Path(program).parent)
    run_as_main(Path(program).read_bytes(), program, __file__=program)


def run_as_main(text: str | bytes, name: str, **names: str) -> None:
    """Run this text as the main module; `names` are what it finds in it."""
    main = sys.modules["__main__"] = ModuleType("__main__")
    main.__dict__.update(names)
    exec(compile(text, name, "exec"), main.__dict__)


def main() -> None:
    for name in LOADED:
        import_module(name)
    gc.collect()
    gc.freeze()  # or each process would look through all of that at its end: three quarters of what a short one costs
    if serve(socket.socket(fileno=int(sys.argv[1]))):
        run(sys.argv[0])


if __name__ == "__main__":
    main()
