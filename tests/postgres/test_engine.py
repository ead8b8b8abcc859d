"""The engine on real servers: processes share runs, die and are replaced; the server restarts under them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from stepflow import Engine, named
from tests.postgres.server import Server
from tests.processes import flows
from tests.processes.checks import check_chain, check_effects, histories, start_many
from tests.processes.harness import Nursery

IN_FLIGHT = 16
RUNS = 80


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[Nursery]:
    nursery = Nursery(tmp_path)
    yield nursery
    nursery.close()


def test_a_restart_of_the_server_loses_and_repeats_nothing(older_server: Server, nursery: Nursery) -> None:
    """The newest version is restarted in test_restarts."""
    server = older_server
    url = server.url()
    ids = start_many(url, flows.sync_chain, RUNS)
    staff = [nursery.spawn("until_idle", "sync_chain", url=url, concurrency=IN_FLIGHT) for _ in range(2)]
    nursery.log.wait(len(staff), what="open")  # a worker that begins while the server is down is told so
    for share, mode in ((4, "fast"), (2, "immediate")):
        nursery.log.wait(RUNS * flows.CHAIN // share, what="step")
        server.restart(mode)
    for child in staff:
        assert child.wait() == 0, child.stderr()
    assert check_effects(nursery.log.entries("step"), ids, [], 0) == 0
    for entries in histories(url, ids).values():
        check_chain("sync_chain", entries)
    assert not [e for e in nursery.log.entries("log") if "dead owner" in str(e.note)]


def test_a_flow_written_for_sqlite_needs_another_url_only(server: Server) -> None:
    done: list[str] = []
    order = named("order").do("pay", lambda: done.append("pay")).do("ship", lambda: done.append("ship")).compile()
    with Engine(server.url()) as engine:
        engine.register(order)
        run = engine.start(order, id="order-1", labels={"tenant": "acme"})
        with engine.worker():
            run.result(timeout=60)
        assert [info.id for info in engine.runs(labels={"tenant": "acme"})] == ["order-1"]
        assert str(run.status()) == "completed"
    assert done == ["pay", "ship"]


def test_a_start_in_one_process_wakes_a_worker_in_another(server: Server, nursery: Nursery) -> None:
    url = server.url()
    child = nursery.spawn("forever", "sync_chain", url=url)
    nursery.log.wait(what="ready")
    with Engine(url) as engine:
        run = engine.start(flows.sync_chain, flows.Count(), id="r")
        assert run.result(timeout=60).n == flows.CHAIN
    child.kill()


def test_the_caller_of_a_blocking_engine_runs_its_loop(server: Server) -> None:
    where: list[int] = []
    flow = named("x").do("a", lambda: where.append(threading.get_ident())).compile()
    with Engine(server.empty()) as engine:
        engine.register(flow)
        run = engine.start(flow)
        engine.run_until_idle()
        run.result()
    assert where == [threading.get_ident()]  # not the thread that has the loop while a task is left
