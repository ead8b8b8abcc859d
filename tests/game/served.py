"""The server of the game as a real process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from attrs import define, field

from tests.house.pages import ROOT

FOLDER = ROOT / "examples" / "realtime_game"
LIMIT_S = 60


@define
class Server:
    """`play.py` on a port of its own, that can be killed and started again."""

    folder: Path
    port: int
    process: subprocess.Popen[str] | None = field(default=None, init=False)
    printed: str = field(default="", init=False)  # by all processes that were killed

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, str(FOLDER / "play.py"), "--port", str(self.port)]
        env = {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", "PATH": "/usr/bin:/bin"}
        with (self.folder / "log.txt").open("a") as log:
            log.write("start\n")
            log.flush()
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            assert self.process.stdout is not None
            for line in self.process.stdout:
                log.write(line)
                if "Uvicorn running on" in line:
                    break
            else:
                pytest.fail(f"the server did not start:\n{(self.folder / 'log.txt').read_text()}")

    def kill(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.printed += self.process.communicate(timeout=LIMIT_S)[0]
        self.process = None
