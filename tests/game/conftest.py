"""The game of examples/realtime_game: its modules can be imported, and its server is a fixture."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

import pytest

from tests.game.served import FOLDER, Server
from tests.ports import free_port

sys.path.append(str(FOLDER))  # the modules of the example have names that nothing else has


@pytest.fixture
def server(tmp_path) -> Iterator[Server]:
    server = Server(tmp_path, free_port())
    server.start()
    yield server
    if server.process is not None:
        printed = server.kill()
        assert not re.search("Traceback|ERROR", printed), printed
