"""The command line on PostgreSQL: what the verbs tell of workers and of a server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgres.server import Server
from tests.processes import flows
from tests.processes.checks import start_many
from tests.processes.commands import doctor, tell_everything, tell_of_a_death
from tests.processes.harness import Nursery


@pytest.fixture
def nursery(server: Server, tmp_path: Path) -> Iterator[Nursery]:
    """Processes on a schema of their own."""
    nursery = Nursery(tmp_path, server.url())
    yield nursery
    nursery.close()


def test_explain_tells_who_holds_a_run_and_what_moves_it_on(nursery: Nursery) -> None:
    tell_everything(nursery)


def test_explain_show_and_list_tell_that_the_holder_of_a_run_died(nursery: Nursery) -> None:
    tell_of_a_death(nursery)


def test_the_doctor_finds_what_is_missing_in_a_schema(server: Server, nursery: Nursery) -> None:
    ids = start_many(nursery.url, flows.sync_chain, 3)
    assert doctor(nursery.url)["store"]["found"].endswith("is sound, 3 runs")
    server.execute(f"delete from {nursery.url.rpartition('schema=')[2]}.history where id = '{ids[1]}'")
    found = doctor(nursery.url, code=3)["store"]
    assert not found["ok"]
    assert f"run '{ids[1]}' has no history of its revision" in found["found"]


def test_the_doctor_names_a_server_that_is_away(server: Server) -> None:
    away = server.url().replace(server.uri.partition("host=")[2], "/nowhere", 1)
    found = doctor(away, code=3)["store"]
    assert "/nowhere" in found["found"]
    assert "check that the server runs and can be reached" in found["found"]
