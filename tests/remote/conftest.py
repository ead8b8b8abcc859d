"""A store per test, and engines that may call hosts on this machine."""

from __future__ import annotations

import pytest

from stepflow import Engine
from stepflow.remote import RemoteHosts
from tests.remote.hosting import SECRET


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def frequent_beats(monkeypatch) -> None:
    """A worker that ends when nothing is left first waits for a beat of the host, which has up to four seconds for it."""
    monkeypatch.setattr("stepflow.engine.membership.heartbeat.LONGEST_REST_S", 0.1)


@pytest.fixture
def store(tmp_path) -> str:
    return f"sqlite:///{tmp_path}/remote.db"


@pytest.fixture
def caller(store):
    """Makes an engine that calls hosts."""

    def made(*, concurrency=64, clock=None, **options) -> Engine:
        return Engine(store, concurrency=concurrency, clock=clock, remote=RemoteHosts(**{"secret": SECRET, **options}))

    return made
