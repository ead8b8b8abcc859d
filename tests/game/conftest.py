"""The game of examples/realtime_game: its modules can be imported, and its server is a fixture."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

import pytest

from tests.game.served import FOLDER, Server
from tests.ports import free_port

sys.path.append(str(FOLDER))  # the modules of the example have names that nothing else has


@pytest.fixture(scope="module")
def started(tmp_path_factory, forking) -> Iterator[Server]:
    """The server of a module: each test has games of its own on it."""
    server = Server(tmp_path_factory.mktemp("game"), free_port())
    yield server
    if server.process is not None:
        server.kill()
    assert not re.search("Traceback|ERROR", server.printed), server.printed


@pytest.fixture
def server(started) -> Server:
    if started.process is None:  # at first, and after a test that failed while it was killed
        started.start()
    return started
