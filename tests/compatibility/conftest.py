"""A copy of each stored store, as the processes that wrote it left it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.compatibility.stores import KINDS, SOURCE, Stored, load, recorded, unpack
from tests.postgres.server import Server


@pytest.fixture(scope="session")
def start_server() -> Iterator[Callable[[], Server]]:
    """Starts a server at the first call; tests of files need none."""
    started: list[Server] = []

    def start() -> Server:
        if not started:
            started.append(Server(18))
        return started[0]

    yield start
    for server in started:
        server.close()


@pytest.fixture(params=KINDS)
def stored(request: pytest.FixtureRequest, tmp_path: Path, start_server: Callable[[], Server]) -> Stored:
    kind = request.param
    if kind == "postgres":
        server = start_server()
        return Stored(kind, load(SOURCE, server, server.schema()), recorded(SOURCE))
    return Stored(kind, unpack(kind, SOURCE, tmp_path), recorded(SOURCE))
