"""Real worker processes for tests: started, signalled and listened to; every wait is on a pipe or a condition, with a deadline."""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import define, field, frozen

from tests.processes.zygote import Forked, zygote

ROOT = Path(__file__).parents[2]
NEVER_S = 3600.0  # for a time limit that must not be what ends a wait
DEADLINE_S = 100.0  # of every wait: far more than anything takes, so that only a hang meets it


@frozen
class Entry:
    """One line that a process wrote: when (ns, monotonic, the same clock in all processes), who, and what happened."""

    at: int
    who: str
    what: str
    run: str = ""
    step: str = ""
    attempt: int = 0
    note: Any = None


class Log:
    """What all processes report through one pipe; a line that was written survives its process.

    The pipe is small: a process that is to be killed after so many lines cannot do all its work before the test reads them.
    """

    def __init__(self) -> None:
        self._read, self.fd = os.pipe()
        fcntl.fcntl(self._read, fcntl.F_SETPIPE_SZ, select.PIPE_BUF)
        self._news = threading.Condition()
        self.children: list[Child] = []
        self._entries: list[Entry] = []
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def entries(self, what: str = "", who: str = "") -> list[Entry]:
        """What was reported so far."""
        with self._news:
            return [e for e in self._entries if (not what or e.what == what) and (not who or e.who == who)]

    def wait(self, count: int = 1, *, what: str = "", who: str = "", timeout: float = DEADLINE_S) -> list[Entry]:
        """Wait for so many entries of this kind; a failure shows the stacks of the processes."""
        if not self.until(lambda log: len(log.entries(what, who)) >= count, timeout):
            raise AssertionError(
                f"waited for {count} x {what!r} of {who!r}, got {self.entries()[-20:]}\n"
                + "\n".join(f"{child.name}:\n{child.stacks()}" for child in self.children)
            )
        return self.entries(what, who)

    def until(self, true: Callable[[Log], bool], timeout: float) -> bool:
        """Wait until something is true of the log; False when it did not become so."""
        with self._news:
            return self._news.wait_for(lambda: true(self), timeout)

    def pause(self, seconds: float) -> None:
        """Let time pass for the processes: where the length of time is what the test is about."""
        self.until(lambda _log: False, seconds)

    def close(self) -> None:
        os.close(self.fd)
        self._thread.join(DEADLINE_S)
        os.close(self._read)

    def _listen(self) -> None:
        rest = b""
        while chunk := os.read(self._read, 1 << 16):
            *lines, rest = (rest + chunk).split(b"\n")
            with self._news:
                self._entries += [Entry(**json.loads(line)) for line in lines]
                self._news.notify_all()


class Gate:
    """Steps that wait at a gate continue one by one, each for one `open`."""

    def __init__(self) -> None:
        self.fd, self._write = os.pipe()

    def open(self, count: int = 1) -> None:
        os.write(self._write, b"." * count)

    def close(self) -> None:
        os.close(self.fd)
        os.close(self._write)


@define(eq=False)
class Child:
    """A process that runs one verb of `tests.processes.child`."""

    name: str
    popen: Forked
    errors: Path
    created: int = field(factory=time.monotonic_ns)

    def send(self, signum: signal.Signals) -> None:
        self.popen.send_signal(signum)

    def stop(self) -> None:
        """SIGSTOP, and wait until it stands still."""
        self.send(signal.SIGSTOP)
        self.popen.wait_until_stopped()

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.popen.kill()
        self.wait()

    def wait(self, timeout: float = DEADLINE_S) -> int:
        """Its exit code."""
        try:
            return self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} did not end:\n{self.stacks()}") from None

    def stacks(self) -> str:
        """End the process if it runs, and return what it wrote, with the stacks of its threads at that moment."""
        if not self.ended():
            self.popen.send_signal(signal.SIGABRT)  # faulthandler writes the stacks
            self.popen.send_signal(signal.SIGCONT)  # a stopped process takes the other signal only now
            self.popen.wait(DEADLINE_S)
        return self.stderr()

    def processor_s(self) -> float:
        """Processor time that it has used."""
        fields = Path(f"/proc/{self.popen.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def ended(self) -> bool:
        return self.popen.poll() is not None

    def stderr(self) -> str:
        return self.errors.read_text()


class Nursery:
    """Starts processes on one store, a SQLite file unless `url` names another, and leaves none behind."""

    def __init__(self, folder: Path, url: str = "") -> None:
        self.folder, self.log, self.gate = folder, Log(), Gate()
        self.path = folder / "runs.db"
        self.url = url or f"sqlite:///{self.path}"
        self.children = self.log.children
        self._number = 0

    def spawn(self, verb: str, *flows: str, **options: Any) -> Child:
        """Start `tests.processes.child` with a verb on flows of `tests.processes.flows`."""
        options = {"flows": flows, "url": self.url, "who": self._name(verb), **options}
        name = options["who"]
        return self._child(name, ["tests.processes.child", verb, json.dumps(options)])

    def run(self, name: str, module: str, *argv: str) -> Child:
        """Start Python with a module as main module, and these arguments."""
        return self._child(name, ["-m", module, *argv])

    def _environment(self, name: str) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "TEST_WHO": name}

    def _child(self, name: str, argv: list[str]) -> Child:
        fds = {"TEST_LOG": self.log.fd, "TEST_GATE": self.gate.fd}
        errors = self.folder / f"{name}.stderr"
        with errors.open("ab") as file, Path(os.devnull).open("wb") as nowhere:
            forked = zygote().fork(
                argv, self.folder, self._environment(name), output=nowhere.fileno(), errors=file.fileno(), fds=fds
            )
        child = Child(name, forked, errors)
        self.children.append(child)
        return child

    def close(self) -> None:
        for child in self.children:
            if not child.ended():
                child.popen.send_signal(signal.SIGCONT)
                child.kill()
        self.log.close()
        self.gate.close()

    def copy(self) -> str:
        """URL of a copy of the database as it is now, its WAL included; for looking without touching."""
        self._number += 1
        target = self.folder / f"copy-{self._number}.db"
        for suffix in ("", "-wal"):
            source = Path(f"{self.path}{suffix}")
            if source.exists():
                shutil.copyfile(source, f"{target}{suffix}")
        return f"sqlite:///{target}"

    def _name(self, verb: str) -> str:
        self._number += 1
        return f"{verb}-{self._number}"


def seconds(since: int, until: int) -> float:
    """Between two times in nanoseconds."""
    return (until - since) / 1e9


def eventually(true: Callable[[], bool], timeout: float = DEADLINE_S) -> None:
    """Look again and again until something is true."""
    pause, end = threading.Event(), time.monotonic() + timeout
    while not true():
        assert time.monotonic() < end, "it did not become true"
        pause.wait(0.02)
