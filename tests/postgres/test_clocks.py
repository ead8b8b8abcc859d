"""Two hosts whose clocks are five minutes apart: what is due, which windows hold and what a limit allows is one thing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psycopg
import pytest

from stepflow import Engine, Limit, named
from stepflow.drivers.postgres.schema import lock_key
from stepflow.engine.clock import SECOND, SystemClock
from stepflow.model.limits import dump
from tests.postgres.hot import FLOWS, NOW, creation, session
from tests.postgres.server import Server

APART_S = 300
WAIT_S = 60
MINUTE = timedelta(seconds=60)


class Shifted(SystemClock):
    def __init__(self, seconds: int) -> None:
        self._shift = seconds * SECOND

    def now(self) -> int:
        return super().now() + self._shift


@pytest.fixture(params=[APART_S, -APART_S], ids=["ahead", "behind"])
def hosts(request: pytest.FixtureRequest, server: Server) -> Iterator[tuple[Engine, Engine]]:
    """An engine on a host with a wrong clock, and one on a host with the right one."""
    url = server.url()
    with Engine(url, clock=Shifted(request.param)) as wrong, Engine(url) as right:
        yield wrong, right


def test_times_agree(hosts: tuple[Engine, Engine]) -> None:
    flow = named("q").do("a", lambda: None).compile()
    begun = SystemClock().now()
    runs = [host.start(flow, id=f"r{number}") for number, host in enumerate(hosts)]
    for run in runs:
        created = run.info().created_at
        assert abs(int(created.timestamp() * SECOND) - begun) < APART_S * SECOND / 2


def test_what_either_starts_is_due_at_once_for_the_other(hosts: tuple[Engine, Engine]) -> None:
    done = threading.Barrier(2)
    flow = named("q").do("a", lambda: done.wait(WAIT_S)).compile()
    for number, (starts, works) in enumerate((hosts, hosts[::-1])):
        works.register(flow)
        run = starts.start(flow, id=f"r{number}")
        with works.worker():
            done.wait(WAIT_S)
            run.result(WAIT_S)


def test_a_deduplication_window_is_one_window(hosts: tuple[Engine, Engine]) -> None:
    flow = named("q").do("a", lambda: None).compile()
    wrong, right = hosts
    for key, (one, two) in {"x": (wrong, right), "y": (right, wrong)}.items():
        first = one.start(flow, id=f"{key}1", dedup_key=key, dedup_window=MINUTE)
        assert two.start(flow, id=f"{key}2", dedup_key=key, dedup_window=MINUTE).id == first.id


def test_a_rate_is_kept_by_both_together_and_by_each_alone(hosts: tuple[Engine, Engine]) -> None:
    """Of a rate per minute exactly one portion begins, whoever looks first and last."""
    begun: list[str] = []
    flow = named("q").do("a", lambda: begun.append("")).compile()
    wrong, right = hosts
    for host in hosts:
        host.register(flow)
    right.start_many(flow, [(f"r{n}", None) for n in range(20)], limits=Limit("api", rate=5, per=60))
    for host in (wrong, right, wrong):
        host.run_until_idle()
    assert len(begun) == 5
    assert "sleeping" not in right.get("r19").explain()


def test_a_time_limit_is_not_over_for_the_other(hosts: tuple[Engine, Engine]) -> None:
    flow = named("q", dict).wait_event("e", "news", int, lambda exchange, n: exchange.update(n=n), timeout=60).compile()
    for number, (one, two) in enumerate((hosts, hosts[::-1])):
        for host in hosts:
            host.register(flow)
        run = one.start(flow, {}, id=f"r{number}")
        one.run_until_idle()
        assert two.run_until_idle().failed == 0
        run.publish("news", number)
        two.run_until_idle()
        assert run.result(0) == {"n": number}


WAITED = (
    "select extract(epoch from clock_timestamp() - waitstart) from pg_locks"
    " where locktype = 'advisory' and not granted and waitstart is not null"
)


def test_a_run_begins_after_the_wait_for_the_claims_of_others(server: Server) -> None:
    """Else a claim that waited would leave room in the next period for runs that begin within this one."""
    url = server.empty()
    limits = dump([Limit("api", rate=5, per=60)])
    with session(url, "waits") as store, psycopg.connect(server.uri) as other, ThreadPoolExecutor(1) as pool:
        store.commit([creation(f"r{n}", limits) for n in range(9)], NOW)
        other.execute("select pg_advisory_xact_lock(%s)", (lock_key("emptied", "limits//0"),))
        claims = pool.submit(store.claim, FLOWS, NOW, 9)
        waited_s = 0.0
        while waited_s < 0.02:
            waited_s = float((other.execute(WAITED).fetchone() or (0.0,))[0])
        other.commit()
        assert len(claims.result(WAIT_S)) == 5
        ((at,),) = other.execute("select distinct at from emptied.begun").fetchall()
        assert at >= NOW + waited_s * SECOND
