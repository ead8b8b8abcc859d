"""Watchers of one schema in several processes, while commits are hindered: every revision once, and soon."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

from stepflow import Engine
from tests.postgres.hinder import hinder
from tests.postgres.server import Server
from tests.processes.harness import NEVER_S, Nursery
from tests.processes.watched import hearing, watch_storm


@pytest.fixture(params=["server"])
def nursery(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Nursery]:
    """Processes on a server, with a schema that is ready."""
    server: Server = request.getfixturevalue(request.param)
    nursery = Nursery(tmp_path, server.url())
    with Engine(nursery.url):
        yield nursery
    nursery.close()


@pytest.fixture
def hindered(nursery: Nursery, request: pytest.FixtureRequest) -> Nursery:
    """The same where transactions get into each other's way."""
    server: Server = request.getfixturevalue(request.node.callspec.params["nursery"])
    hinder(server, nursery.url)
    return nursery


def test_watchers_in_other_processes_neither_miss_nor_repeat(hindered: Nursery) -> None:
    watch_storm(hindered, committers=4, count=10, engines=1)


def test_a_commit_is_pushed_to_watchers_here_and_elsewhere(nursery: Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepflow.engine.states.watch.POLL_S", NEVER_S)
    hearing(nursery, 25, NEVER_S)


@pytest.mark.soak
@pytest.mark.parametrize("nursery", ["server", "older_server"], indirect=True)
def test_watchers_storm(hindered: Nursery) -> None:
    watch_storm(hindered, committers=8, count=300, engines=2)


@pytest.mark.soak
@pytest.mark.parametrize("nursery", ["server", "older_server"], indirect=True)
def test_hearing(nursery: Nursery) -> None:
    _here, there = hearing(nursery, 300)
    assert median(there) < 0.05
