"""An idle worker hears of all that concerns it, and sends fewer than one statement a second, whatever the network passes on."""

from __future__ import annotations

from asyncio import BaseEventLoop
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from threading import Condition
from typing import Any

import psycopg
import pytest

from stepflow import Context, Engine, named, workflow
from stepflow.drivers.port.commit import Commit, Release
from stepflow.drivers.port.pauses import FlowPause
from stepflow.drivers.port.schedules import ScheduleChange
from stepflow.drivers.postgres import change_listener, next_due, owners
from stepflow.drivers.postgres.change_judge import ChangeJudge, Reading
from stepflow.drivers.postgres.change_listener import ChannelListener
from stepflow.drivers.postgres.connection import PostgresConnection
from stepflow.drivers.postgres.schema import lock_key
from stepflow.engine.membership import failure_detector, heartbeat
from stepflow.engine.worker.worker import Worker
from stepflow.testing.conformance.kit import as_member, polling, publish, step, write
from tests.postgres.hot import FLOWS, NOW, creation, session
from tests.postgres.server import Server
from tests.postgres.test_citus import distributed, distributed_again
from tests.processes.harness import NEVER_S

BEATS, TRIES = 5, 10
QUIET_S, SOON_S = 1.0, 60.0  # without a change; until a change is heard that must be heard
SECOND = 1_000_000
CHAIN = named("chain", dict).do("a", lambda _exchange: None).compile()


@workflow("sleeper")
def sleeper(wf: Context, _inp: None) -> None:
    wf.sleep("s", timedelta(seconds=5))


Change = Callable[[Any, str], None]


class Statements:
    """Counts what the sessions of this process send, by the first words."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._sent, self._changed, usual = Counter[str](), Condition(), psycopg.Connection.execute

        def counting(connection: Any, query: Any, *args: Any, **how: Any) -> Any:
            with self._changed:
                self._sent[
                    "beat" if "owners.beat + 1" in query or ".owners (shard" in query else query.strip()[:60]
                ] += 1
                self._changed.notify_all()
            return usual(connection, query, *args, **how)

        monkeypatch.setattr(PostgresConnection, "execute", counting, raising=False)

    def during(self, beats: int) -> Counter[str]:
        """What is sent while so many beats are."""
        with self._changed:
            self._sent.clear()
            assert self._changed.wait_for(lambda: self._sent["beat"] >= beats, NEVER_S)
            return Counter(self._sent)


OPTIONS: dict[str, dict[str, Any]] = {
    "direct": {},
    "pooled": {"pooler": "transaction"},
    "sharded": {"shards": 8},
    "sharded and pooled": {"shards": 8, "pooler": "transaction"},
}


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_an_idle_worker_sends_its_beats_and_hardly_anything_else(
    server: Server, options: dict[str, Any], workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each beat is one statement, and there is less than one beat a second."""
    url, statements = server.url(**options), Statements(monkeypatch)
    with ExitStack() as stack:
        for _number in range(workers):
            engine = stack.enter_context(Engine(url))
            engine.register(CHAIN)
            stack.enter_context(engine.worker())
        for _try in range(TRIES):  # until they know each other, and that nothing is there
            sent = statements.during(BEATS * workers)
            if sum(sent.values()) - sent["beat"] <= workers:  # a look at the connection that listens
                break
        else:
            pytest.fail(str(sent))
    assert min(owners.REST_S, owners.POOLED_REST_S) > 1


def test_an_idle_worker_of_a_distributed_store_sends_three_statements_per_beat_on_average(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many shards there are; a beat that shows life sends five, every second one only looks whether anything moved."""
    driver, statements = distributed(server), Statements(monkeypatch)
    monkeypatch.setattr(owners, "REST_APART_S", 0.4)  # the same more often
    monkeypatch.setattr(change_listener, "LISTENING_APART_S", NEVER_S)
    with Engine(driver) as engine, Engine(distributed_again(server)) as other:
        for each in (engine, other):
            each.register(CHAIN)
        with engine.worker(), other.worker():
            for _try in range(TRIES):
                sent = statements.during(2 * BEATS)
                whole, looks = (
                    sent["beat"],
                    sum(n for text, n in sent.items() if text.startswith("select r.last_value")),
                )
                if sum(sent.values()) <= 4 * whole + looks + 2 and whole <= looks:
                    break
            else:
                pytest.fail(str(sent))


def test_the_rates_of_an_idle_worker_are_below_one_a_second_together() -> None:
    look = next_due.LOOKS  # however many flows and shards there are
    assert 1 / owners.REST_S + 1 / change_listener.CHECK_S + look + 1 / 60 < 1
    assert 1 / owners.POOLED_REST_S + 1 / change_listener.CHECK_POOLED_S < 1
    assert (1 + 5) / (2 * owners.REST_APART_S) + 2 / change_listener.CHECK_APART_S + next_due.LOOKS_APART < 1
    # A worker's beats read the marks before its listener would, and come before others may take it for dead.
    assert owners.REST_S < change_listener.LISTENING_S
    assert owners.POOLED_REST_S < change_listener.POOLED_S
    assert owners.REST_APART_S < change_listener.LISTENING_APART_S < heartbeat.OVERDUE_S
    assert heartbeat.BEAT_S < heartbeat.LOOK_S < owners.REST_S < 3.0
    assert 2 * owners.REST_APART_S < failure_detector.SILENCE_S


class Plans:
    """When the idle workers of this process planned to look again, on the clock of the store: (now, then), microseconds UTC."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[tuple[int, int]] = []
        usual, made = Worker._sleep, self.made

        async def sleeping(worker: Worker) -> None:
            loop = worker._loop
            with pytest.MonkeyPatch.context() as patch:

                def planned(after_s: float, call: Callable[..., object], *args: object) -> Any:
                    if call == worker._on_alarm:
                        now = worker._clock.now()
                        made.append((now, now + int(after_s * SECOND)))
                        patch.undo()
                    return BaseEventLoop.call_later(loop, after_s, call, *args)  # type: ignore[arg-type]

                patch.setattr(loop, "call_later", planned)
                await usual(worker)

        monkeypatch.setattr(Worker, "_sleep", sleeping)


@pytest.mark.parametrize("options", [*OPTIONS.values(), None], ids=[*OPTIONS, "distributed"])
def test_an_idle_worker_plans_to_look_when_a_sleep_ends(
    server: Server, options: dict[str, Any] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With and without notifications: whatever it does before, it never sleeps for longer than until 100 ms after that time."""
    store: Any = distributed(server) if options is None else server.url(**options)
    with Engine(store) as engine:
        engine.register(sleeper)
        run = engine.start(sleeper, None, id="r")
        engine.run_until_idle()
        due = run.info().due
        assert due is not None
    again: Any = distributed_again(server) if options is None else store
    plans, ends = Plans(monkeypatch), int(due.timestamp() * SECOND)
    with Engine(again) as engine:
        engine.register(sleeper)
        with engine.worker():
            engine.get(sleeper, "r").result(SOON_S)
    before = [(now, then) for now, then in plans.made if now < ends]
    assert [then - ends for _now, then in before if then > ends + SECOND // 10] == []
    assert any(then >= ends - SECOND // 1000 for _now, then in before) or not before


def created(store: Any, _url: str) -> None:
    store.commit([creation("a")], NOW)


def paused(store: Any, _url: str) -> None:
    store.commit([Commit(flow_pause=FlowPause("f.v1", True, NOW))], NOW)


def resumed(store: Any, _url: str) -> None:
    store.commit([Commit(flow_pause=FlowPause("f.v1", False, NOW))], NOW)


def scheduled(store: Any, _url: str) -> None:
    store.commit([Commit(schedule=ScheduleChange("s", 0, NOW + SECOND, "{}"))], NOW)


def published(store: Any, _url: str) -> None:
    store.commit([publish("other", "news", "1")], NOW)


def posted(store: Any, url: str) -> None:
    with psycopg.connect(url.partition("&schema")[0]) as tx:
        store.post(tx, creation("posted"))


def transacted(store: Any, _url: str) -> None:
    transaction = store.begin()
    transaction.connection.execute("select 1")
    transaction.finish()
    transaction.commit(as_member(write("other", store.load(["other"])[0].state.rev)), NOW)


CHANGES = [created, paused, resumed, scheduled, published, posted, transacted]


@contextmanager
def listening(
    server: Server, how: str, monkeypatch: pytest.MonkeyPatch, *, prepare: Change | None = None
) -> Iterator[tuple[Any, str, Callable[[], None]]]:
    """A session that writes, the URL, and what asserts that another session hears of a change made after this began."""
    url = server.url(**({"pooler": "transaction"} if how == "pooled" else {}))
    with session(url, "writes") as writes, session(url, "listens") as hears:
        writes.commit([creation("other", due=NOW + 2 * SECOND)], NOW)
        if prepare is not None:
            prepare(writes, url)
        if how == "lost":
            monkeypatch.setattr(ChannelListener, "_hear", lambda *_args: None)
        if how == "announced":
            monkeypatch.setattr(change_listener, "LISTENING_S", NEVER_S)
        token, last = 0, -1
        while token != last:
            last, token = token, hears.wait_for_change(token, QUIET_S)
        yield writes, url, lambda: _heard(hears, token)


def test_what_others_commit_and_announce_between_opening_and_the_first_wait_is_heard_of(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its revision was drawn before opening read the marks, so these tell nothing, and the notification came too early."""
    monkeypatch.setattr(change_listener, "LISTENING_S", NEVER_S)
    url = server.url()
    with session(url, "writes") as writes, psycopg.connect(server.uri, autocommit=True) as other:
        writes.commit([creation("other")], NOW)
        channel, runner = writes._watch._channel, writes._runner
        other.execute("begin")
        other.execute("select pg_advisory_xact_lock_shared(%s)", (lock_key(runner.place.schema, "revs"),))
        other.execute(runner.sql("select nextval('stepflow.revs')"))
        with session(url, "listens") as hears:
            other.execute("commit")
            other.execute("select pg_notify(%s, %s)", (channel.name, channel.sender))
            assert hears.wait_for_change(0, SOON_S) != 0


def _heard(store: Any, token: int) -> None:
    assert store.wait_for_change(token, SOON_S) != token


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("how", ["announced", "lost", "pooled"])
def test_a_change_is_heard_of(server: Server, how: str, change: Change, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare = paused if change is resumed else None
    with listening(server, how, monkeypatch, prepare=prepare) as (writes, url, hear):
        change(writes, url)
        hear()


@pytest.mark.parametrize("how", ["announced", "lost", "pooled"])
def test_the_release_of_a_run_that_polls_is_heard_of(server: Server, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has a new due time, and neither a revision nor an epoch: a worker must not sleep until another time that it knows."""
    claims: list[Any] = []

    def hold(store: Any, _url: str) -> None:
        store.commit([creation("polls")], NOW)
        (claim,) = store.claim(FLOWS, NOW, 1)
        store.commit([as_member(step(claim, store.load(["polls"])[0].state.rev, polling()))], NOW)
        assert store.release([Release(claim.fence, NOW)], NOW) == [True]
        claims.extend(store.claim(FLOWS, NOW, 1))

    with listening(server, how, monkeypatch, prepare=hold) as (writes, _url, hear):
        assert writes.release([Release(claims[0].fence, NOW + SECOND)], NOW) == [True]
        hear()


def test_a_worker_starts_at_once_what_another_engine_starts_however_long_it_has_been_idle(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the notification alone: nothing else is looked at for an hour."""
    url, statements = server.url(), Statements(monkeypatch)
    monkeypatch.setattr(change_listener, "LISTENING_S", NEVER_S)
    for name in ("REST_S", "POOLED_REST_S"):
        monkeypatch.setattr(owners, name, NEVER_S)
    with Engine(url) as engine, Engine(url) as client:
        engine.register(CHAIN)
        with engine.worker():
            statements.during(1)
            client.start(CHAIN, {}, id="r").result(SOON_S)


class TestJudge:
    def test_a_change_while_nothing_was_written_here_is_another_ones(self) -> None:
        judge = ChangeJudge()
        judge.start((1,), (0,))
        assert judge.observe(judge.before(), (1,), (0,)) == Reading(moved=False, others=False, posted=False)
        assert judge.observe(judge.before(), (2,), (0,)) == Reading(moved=True, others=True, posted=False)
        assert judge.observe(judge.before(), (2,), (1,)) == Reading(moved=True, others=True, posted=True)
        assert not judge.doubtful

    def test_an_own_write_makes_a_change_doubtful(self) -> None:
        judge = ChangeJudge()
        judge.start((1,), (0,))
        with judge.writing():
            assert not judge.observe(judge.before(), (2,), (0,)).others
        assert judge.doubtful
        assert not judge.observe(judge.before(), (2,), (0,)).moved
        assert judge.doubtful  # until it is told
        judge.doubtful = False
        before = judge.before()
        with judge.writing():
            pass
        assert not judge.observe(before, (3,), (0,)).others  # written between the two
        assert judge.doubtful

    def test_a_write_of_nothing_is_none(self) -> None:
        judge = ChangeJudge()
        judge.start((1,), (0,))
        with judge.writing() as nothing:
            nothing.append(True)
        assert judge.observe(judge.before(), (2,), (0,)).others
