"""ServingProcess: uvicorn with the order of a shutdown that open pages need, and how the commands run it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn

GRACE_S = 30  # for requests, or calls, that are under way when the process is asked to stop
KEEP_ALIVE_S = 120  # longer than clients keep an idle connection (Go: 90 s): a POST on one that is being closed is lost


def config_of(
    application: Any, host: str, port: int, certificate: Path | str | None, key: Path | str | None
) -> uvicorn.Config:
    """How an ASGI application is served at this address; with the PEM files over HTTPS."""
    return uvicorn.Config(
        application,
        host=host,
        port=port,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
        timeout_keep_alive=KEEP_ALIVE_S,
        ssl_certfile=None if certificate is None else str(certificate),
        ssl_keyfile=None if key is None else str(key),
    )


class ServingProcess(uvicorn.Server):
    """Serves until a signal. Then `stop` ends the streams of events, or withdraws a host: uvicorn waits for the end of every request."""

    def __init__(self, config: uvicorn.Config, stop: Callable[[], object]) -> None:
        super().__init__(config)
        self._stop = stop

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stop()
        await super().shutdown(sockets)
