"""A server that knows nothing but flowstate.v1, as those of the Go project do, in a process that can be killed and started again."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import uvicorn

from stepflow.server import app
from tests.ports import free_port

LIMIT_S = 60
METHODS = "GetStateByID GetStateByLabels GetStates GetDelayedStates Delay Commit GetData StoreData"
PATHS = {f"/flowstate.v1.Driver/{method}" for method in METHODS.split()} | {"/flowstate.v1.Flow/Execute"}


class FlowstateOnly:
    """All other paths are those of files, which are not there. A token names a namespace, so that tests can share a process."""

    def __init__(self, application: Any) -> None:
        self._application = application

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._application(scope, receive, send)
        elif scope["path"] in PATHS:
            token = dict(scope["headers"]).get(b"authorization", b"").decode().removeprefix("Bearer ")
            path = f"/{token}{scope['path']}" if token else scope["path"]
            await self._application({**scope, "path": path, "raw_path": path.encode()}, receive, send)
        else:
            text = b"404 page not found\n"
            headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(text)).encode())]
            await send({"type": "http.response.start", "status": 404, "headers": headers})
            await send({"type": "http.response.body", "body": text})


class FlowstateProcess:
    """Such a server on one port, on a SQLite file in `directory`."""

    def __init__(self, directory: Path) -> None:
        self.port, self._directory = free_port(), directory
        self.start()

    def url(self, namespace: str = "") -> str:
        return f"http://{namespace}{'@' if namespace else ''}127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [
            sys.executable,
            "-m",
            "tests.http.flowstate.served",
            str(self.port),
            f"sqlite:///{self._directory}/kept.db",
        ]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self._process.stderr is not None
        next(line for line in self._process.stderr if "running on" in line)
        self._reader = threading.Thread(target=self._process.stderr.read, daemon=True)  # else the pipe is full one day
        self._reader.start()

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        if self._process.poll() is None:
            self._process.send_signal(number)
            self._process.wait(LIMIT_S)
            self._reader.join(LIMIT_S)
            assert self._process.stderr is not None
            self._process.stderr.close()

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)


if __name__ == "__main__":
    port, store = sys.argv[1:]
    config = uvicorn.Config(FlowstateOnly(app(store)), port=int(port), lifespan="on", access_log=False)
    asyncio.run(uvicorn.Server(config).serve())
