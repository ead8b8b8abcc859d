"""A process that has more than a thousand open files hears of changes as any other does."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from stepflow.drivers.postgres import PostgresDriver
from stepflow.testing.conformance.kit import Sessions, creation, make
from tests.postgres.server import Server

FILES = 1_100  # select.select takes descriptors up to 1,023


@pytest.fixture
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * FILES), hard))
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(FILES)]
    yield
    for fd in opened:
        os.close(fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
def test_changes_are_heard_on_a_descriptor_above_1023(server: Server, tmp_path: Path) -> None:
    driver = PostgresDriver(server.url())
    one, two = Sessions(driver), Sessions(driver)
    listening, writing = one.session("listener"), two.session("writer")
    assert listening._watch._connection.fileno() > 1023  # type: ignore[attr-defined]
    token = listening.wait_for_change(0, 0.0)
    make(writing, creation("a"))
    assert listening.wait_for_change(token, 20) != token
    assert [guard.health.failures for guard in listening.guards] == [0]
    one.close()
    two.close()
