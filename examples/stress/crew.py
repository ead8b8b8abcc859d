"""The worker processes: started, killed without a warning, replaced, and stopped in order."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path


class Crew:
    """Processes that run `python stress worker`. What they log goes to a file."""

    def __init__(self, arguments: list[str], log: Path, seed: int) -> None:
        self._command = [sys.executable, str(Path(__file__).parent), "worker", *arguments]
        self._log, self._chance = log.open("ab"), random.Random(seed)
        self._living: dict[str, subprocess.Popen[bytes]] = {}
        self._started = 0
        self.killed: set[str] = set()

    def start(self, count: int) -> None:
        """Start workers, and wait until they are ready."""
        names = [f"worker-{self._started + n}" for n in range(1, count + 1)]
        self._started += count
        for name in names:
            command = [*self._command, "--process", name]
            self._living[name] = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self._log)
        for name in names:
            says = self._living[name].stdout
            if says is None or says.readline() != b"ready\n":
                self.check()

    def kill(self, name: str = "") -> None:
        """SIGKILL one of them, a random one unless it is named, and start another one."""
        name = name or self._chance.choice(sorted(self._living))
        process = self._living.pop(name)
        process.kill()
        process.wait()
        self.killed.add(name)
        self.start(1)

    def check(self) -> None:
        """End this program if one ended by itself."""
        for name, process in self._living.items():
            if process.poll() is not None:
                sys.exit(f"error: {name} ended with {process.returncode}; {self._log.name} says why")

    def stop(self) -> None:
        """SIGTERM: they finish what they have begun."""
        for process in self._living.values():
            process.terminate()
        for process in self._living.values():
            process.wait()
        self._log.close()
