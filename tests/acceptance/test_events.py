"""I14-I17, G01, G03, G06: events, and how workers hear of them, and of their end."""

from __future__ import annotations

import threading

from stepflow import Context, Engine, Run, Status, current, workflow
from stepflow.drivers.port.store import Driver
from stepflow.drivers.postgres import PostgresDriver
from stepflow.testing import VirtualClock
from tests.acceptance.conftest import Connect
from tests.acceptance.flows import count, simple, waits
from tests.engine.heard import heard
from tests.postgres.server import Server
from tests.processes.harness import eventually

WAIT_S = 60.0  # far more than it takes: only a hang meets it


def test_i14_an_event_ends_the_wait(engine: Engine) -> None:
    run = engine.start(waits)
    engine.run_until_idle()
    assert (run.status(), count("before_wait")) == (Status.WAITING, 1)
    run.publish("approval", "yes")
    assert run.status() is Status.QUEUED
    engine.run_until_idle()
    assert (run.result(), count("before_wait"), count("after_wait")) == ("yes", 1, 1)


def test_i15_an_event_that_is_published_in_the_transaction_of_the_start_is_there(
    engine: Engine, connect: Connect
) -> None:
    with connect() as connection:
        connection.execute("begin")
        run = engine.start(waits, id="r", tx=connection)
        run.publish("approval", "early", tx=connection)
        connection.execute("commit")
    engine.run_until_idle()
    assert (run.result(), count("before_wait")) == ("early", 1)
    late = engine.start(waits)
    engine.run_until_idle()
    late.publish("approval", "late")
    engine.run_until_idle()
    assert [waited(run), waited(late)] == [False, True]


def waited(run: Run[str]) -> bool:
    """Whether the run was at its wait in any revision."""
    return any("wait_for_approval" in text for entry in run.history() for text in entry.position)


def test_i16_a_worker_hears_of_starts_and_events_of_other_engines(store: Driver) -> None:
    started_and_published_elsewhere(store)


def test_i17_a_worker_that_is_told_nothing_looks_by_itself(server: Server) -> None:
    # On SQLite: tests/drivers/test_sqlite_changes.py::test_without_reports_a_poll_finds_the_change.
    started_and_published_elsewhere(PostgresDriver(server.empty("acceptance_quiet", pooler="transaction")))  # no LISTEN


def started_and_published_elsewhere(store: Driver) -> None:
    with Engine(store) as worker, Engine(store) as client:
        worker.register(waits)
        with worker.worker():
            run = client.start(waits)
            eventually(lambda: run.status() is Status.WAITING)
            run.publish("approval", "heard")
            assert run.result(timeout=WAIT_S) == "heard"


def test_g01_an_event_that_arrives_while_the_run_goes_on_strands_nothing(
    engine: Engine, store: Driver, clock: VirtualClock, connect: Connect
) -> None:
    def publish_elsewhere() -> None:
        with Engine(store, clock=clock) as other:
            other.get(current().run_id).publish("approval", "meanwhile")

    @workflow("meanwhile")
    def meanwhile(wf: Context) -> str:
        wf.execute("publish", publish_elsewhere)
        return wf.wait_for_event("wait", "approval", str)

    engine.register(meanwhile)
    running, waiting = engine.start(meanwhile), engine.start(waits)
    engine.run_until_idle()
    assert running.result() == "meanwhile"
    with connect() as connection:  # by another transaction, of which no worker is told
        connection.execute("begin")
        waiting.publish("approval", "by hand", tx=connection)
        connection.execute("commit")
    engine.run_until_idle()
    assert waiting.result() == "by hand"


def test_g03_runs_of_two_flows_that_are_started_in_one_transaction_wake_the_worker(
    store: Driver, connect: Connect
) -> None:
    @workflow("other")
    def other(wf: Context) -> str:
        return "other"

    with Engine(store) as worker, Engine(store) as client, connect() as connection:
        worker.register(simple, other)
        with worker.worker():
            connection.execute("begin")
            runs = [client.start(simple, "G", tx=connection), client.start(other, tx=connection)]
            connection.execute("commit")
            assert [run.result(timeout=WAIT_S) for run in runs] == ["Hello, G!", "other"]


def test_g06_a_worker_that_is_asked_to_stop_ends_the_run_that_it_has_begun(store: Driver) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def long() -> str:
        begun.set()
        return "ended" if go_on.wait(WAIT_S) else "given up"

    @workflow("long")
    def flow(wf: Context) -> str:
        return wf.execute("long", long)

    with Engine(store) as engine:
        engine.register(flow)
        run = engine.start(flow)
        worker = threading.Thread(target=engine.run_forever)
        worker.start()
        assert begun.wait(WAIT_S)
        with heard("asked to stop: 1 run(s)", then=go_on.set):
            engine.quit()
            worker.join(WAIT_S)
        assert not worker.is_alive()
        assert (run.status(), run.result()) == (Status.COMPLETED, "ended")
