"""A server with its web UI in this process, and a browser that looks at it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn
from attrs import frozen

from stepflow import Engine
from stepflow.server import app
from stepflow.server.serving import ServingProcess

LIMIT_S = 60.0


class Started(ServingProcess):
    """A server in a thread that says when it listens."""

    def __init__(self, config: uvicorn.Config, stop: Any) -> None:
        super().__init__(config, stop)
        self.listens = threading.Event()

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.listens.set()


@frozen
class Site:
    """A served store: the address of its pages, and an engine of this process on the same store."""

    url: str
    engine: Engine


@contextmanager
def serving(store: str, port: int = 0, **options: Any) -> Iterator[str]:
    """The address of a server."""
    served = app(store, **options)
    config = uvicorn.Config(served, host="127.0.0.1", port=port, lifespan="on", log_config=None)
    server = Started(config, served.state.stop)
    thread = threading.Thread(target=server.run, name="served", daemon=True)
    thread.start()
    try:
        assert server.listens.wait(LIMIT_S)
        yield f"http://localhost:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(LIMIT_S)


@pytest.fixture
def console() -> list[str]:
    """What the browser complained about; a test that provokes something takes it out."""
    return []


@pytest.fixture
def page(profile, console):
    """A tab without cookies; every server has an address of its own. Nothing may be left in `console` at the end."""
    profile.clear_cookies()
    tab = profile.new_page()
    tab.on("console", lambda message: console.append(message.text) if message.type in ("error", "warning") else None)
    tab.on("pageerror", lambda error: console.append(str(error)))
    yield tab
    tab.close()
    assert console == []


@pytest.fixture
def store(tmp_path) -> str:
    return f"sqlite:///{tmp_path}/served.db"


@pytest.fixture
def engine(store):
    with Engine(store) as made:
        yield made


@pytest.fixture
def site(store, engine, page):
    with serving(store) as url:
        yield Site(url, engine)
        page.close()  # before its server ends, of which it would complain
