"""Workers over a server that has no claims: what keeps two of them apart is the revision of a State."""

from __future__ import annotations

import shutil
import threading
from datetime import UTC, datetime, timedelta

import pytest

from stepflow import Engine, StateCtx, commit, delay, flow, park, transit
from stepflow.drivers.http import HttpDriver
from stepflow.drivers.port.commit import Commit, Fence, Owner, Release, Write
from stepflow.engine.clock import timestamp
from stepflow.engine.membership.heartbeat import OVERDUE_S
from stepflow.errors import LostClaim, RevisionsLost
from stepflow.model.commands import Execute
from stepflow.testing import VirtualClock
from tests.http.flowstate.served import FlowstateProcess

pytestmark = pytest.mark.usefixtures("forking")

LIMIT_S = 60
FLOWS = {"f": "1"}


def in_minutes(minutes: float) -> VirtualClock:
    return VirtualClock(datetime.now(UTC) + timedelta(minutes=minutes))


def working(calls: list[str]):
    @flow("f")
    def work(ctx: StateCtx):
        calls.append(ctx.id)
        return commit(park(ctx, done="yes"))

    return work


def left(url: str, *states: StateCtx) -> None:
    """Another program commits these States on their way to f, and ends."""
    with Engine(url) as engine:
        for ctx in states:
            engine.do(commit(transit(ctx, "f", why="new")))


def test_what_an_engine_moves_it_executes(flowstate_url):
    calls: list[str] = []
    with Engine(flowstate_url) as engine:
        engine.register(working(calls))
        ctx = StateCtx("a")
        engine.do(commit(transit(ctx, "f")))
        assert str(engine.execute(ctx)) == "Parked()"
        other = StateCtx("b")
        engine.do(commit(transit(other, "f")), Execute(other))
        watch = engine.watch()
        while (state := watch.next(timeout=LIMIT_S)) and not (state.id == "b" and state.parked):
            pass
        assert engine.get_state("b").annotation("done") == "yes"
    assert calls == ["a", "b"]


@pytest.mark.parametrize(
    ("minutes", "annotations", "taken"),
    [
        (1.5, {}, False),
        (2.1, {}, True),
        (1.1, {"flowstate.recovery.retry_after": "1s"}, True),  # the shortest is a minute
        (4.9, {"flowstate.recovery.retry_after": "1h"}, False),
        (5.1, {"flowstate.recovery.retry_after": "1h"}, True),  # the longest is five
        (600, {"flowstate.recovery.enabled": "false"}, False),
    ],
)
def test_a_state_of_another_program_is_taken_over_at_its_time(flowstate_url, minutes, annotations, taken):
    calls: list[str] = []
    left(flowstate_url, StateCtx("s", {}, annotations))
    with Engine(flowstate_url, clock=in_minutes(minutes)) as engine:
        engine.register(working(calls))
        engine.run_until_idle()
        assert calls == ["s"] * taken
        found = [(state.transition.to, dict(state.transition.annotations)) for state in engine.states().states]
    take_over = ("f", {"why": "new", "flowstate.recovery.attempt": "1"})
    assert found == [("f", {"why": "new"}), *([take_over, ("", {"done": "yes"})] if taken else [])]


def test_a_state_is_taken_over_by_one_of_two_workers(flowstate_url):
    left(flowstate_url, *(StateCtx(f"s{number}") for number in range(10)))
    now = timestamp(datetime.now(UTC) + timedelta(minutes=3))
    stores = [HttpDriver(flowstate_url).connect("", Owner(name, "host", 1), now) for name in "ab"]
    for store in stores:
        assert store.next_due(FLOWS, now).next_due is not None  # both know of all ten
    first = stores[0].claim(FLOWS, now + 1, 5)
    second = stores[1].claim(FLOWS, now + 1, 10)  # it does not look again before it tries all ten
    assert [len(first), len(second)] == [5, 5]
    assert {claim.fence.id for claim in (*first, *second)} == {f"s{number}" for number in range(10)}
    for store in stores:
        store.close()


def test_a_state_whose_functions_never_end_fails(flowstate_url):
    """As often as the origin's recovery would try it; the origin only parks it."""
    left(flowstate_url, StateCtx("s"))
    for hours in (1, 2, 3):
        store = HttpDriver(flowstate_url).connect("", Owner(f"w{hours}", "host", 1), 0)
        (claim,) = store.claim(FLOWS, timestamp(datetime.now(UTC) + timedelta(hours=hours)), 9)
        assert claim.record is not None
        assert claim.record.state.transition.annotations["flowstate.recovery.attempt"] == str(hours)
        store.close()  # as if the process had died
    calls: list[str] = []
    with Engine(flowstate_url, clock=in_minutes(600)) as engine:
        engine.register(working(calls))
        assert engine.run_until_idle().failed == 1
        state = engine.get_state("s")
    assert (calls, state.parked) == ([], True)
    assert state.annotation("stepflow.status") == "failed"


def test_a_function_that_raises_is_tried_again_and_fails(flowstate_url):
    calls: list[str] = []

    @flow("f")
    def broken(ctx: StateCtx):
        calls.append(ctx.annotation("flowstate.recovery.attempt"))
        raise ValueError("broken")

    left(flowstate_url, StateCtx("s"))
    with Engine(flowstate_url, clock=in_minutes(3)) as engine:
        engine.register(broken)
        engine.run_until_idle(advance=True)
        state = engine.get_state("s")
    assert (calls, state.parked, state.annotation("stepflow.status")) == (["1", "2"], True, "failed")
    assert "ValueError" in state.annotation("stepflow.error")


def test_the_loser_of_a_state_commits_nothing(flowstate_url):
    """A function that takes longer than the time of recovery: another program takes over, and the late commit is refused."""
    calls: list[str] = []

    @flow("f")
    def slow(ctx: StateCtx):
        calls.append("slow")
        with Engine(flowstate_url, clock=in_minutes(10)) as other:
            other.register(working(calls))
            other.run_until_idle()
        return commit(park(ctx, done="late"))

    left(flowstate_url, StateCtx("s"))
    with Engine(flowstate_url, clock=in_minutes(3)) as engine:
        engine.register(slow)
        engine.run_until_idle()
        state = engine.get_state("s")
    assert (calls, state.annotation("done")) == (["slow", "s"], "yes")


def test_a_claim_is_fenced_within_its_session(flowstate_url):
    left(flowstate_url, StateCtx("s"))
    now = timestamp(datetime.now(UTC) + timedelta(minutes=3))
    store = HttpDriver(flowstate_url).connect("", Owner("a", "host", 1), now)
    (claim,) = store.claim(FLOWS, now, 9)
    assert store.claim(FLOWS, now, 9) == []
    assert claim.record is not None
    moved = Commit(Fence("s", claim.fence.epoch + 1), writes=(Write(claim.record.state),))
    assert isinstance(store.commit([moved], now)[0], LostClaim)
    assert isinstance(store.commit([Commit(unowned=("s",))], now)[0], LostClaim)
    assert store.release([Release(claim.fence, now), Release(claim.fence, now)], now) == [True, False]
    assert isinstance(store.commit([moved._replace(fence=claim.fence)], now)[0], LostClaim)
    (again,) = store.claim(FLOWS, now, 9)
    assert again.fence.epoch > claim.fence.epoch
    store.close()


def test_a_pending_delay_keeps_its_state_from_recovery(flowstate_url):
    calls: list[str] = []
    with Engine(flowstate_url) as engine:
        ctx = StateCtx("s")
        engine.do(commit(transit(ctx, "f"), delay(ctx, "f", 1800)))
    with Engine(flowstate_url, clock=in_minutes(10)) as engine:
        engine.register(working(calls))
        assert engine.run_until_idle().waiting == 1
        assert calls == []
        engine.run_until_idle(advance=True)
    assert calls == ["s"]


def test_a_worker_hears_of_delays_of_other_programs(flowstate_url):
    done = threading.Event()

    @flow("f")
    def late(ctx: StateCtx):
        done.set()
        return commit(park(ctx))

    with Engine(flowstate_url) as engine, _working(engine, late):
        with Engine(flowstate_url) as other:
            other.do(delay(StateCtx("s"), "f", 0))
        assert done.wait(LIMIT_S)


def _working(engine: Engine, *flows):
    engine.register(*flows)
    return engine.worker()


def test_an_idle_worker_stays_at_work(flowstate_url):
    """An engine that does not beat for OVERDUE_S claims nothing, whatever the store says."""
    store = HttpDriver(flowstate_url).connect("", Owner("a", "host", 1), 0)
    assert (store.beat(0).rest_s or 0) < OVERDUE_S
    store.close()


def test_a_server_that_lost_its_states(tmp_path):
    """As the memory driver of the origin does when it is started again."""
    server = FlowstateProcess(tmp_path)
    calls: list[str] = []
    now = timestamp(datetime.now(UTC) + timedelta(minutes=3))
    store = HttpDriver(server.url()).connect("", Owner("a", "host", 1), now)
    with Engine(server.url(), keep=None) as engine:
        engine.register(working(calls))
        watch = engine.watch()
        for number in range(5):
            engine.do(commit(park(StateCtx(f"s{number}"))))
            assert watch.next(timeout=LIMIT_S).id == f"s{number}"
        left(server.url(), StateCtx("old"))
        assert watch.next(timeout=LIMIT_S).id == "old"
        assert store.next_due(FLOWS, now).head == 6
        server.kill()
        shutil.rmtree(tmp_path)
        tmp_path.mkdir()
        server.start()
        left(server.url(), StateCtx("new"))
        with pytest.raises(RevisionsLost):
            watch.next(timeout=LIMIT_S)
        assert watch.next(timeout=LIMIT_S).id == "new"
        assert store.next_due({}, now).timeline == 1
        assert [claim.fence.id for claim in store.claim(FLOWS, now + 1_000_000, 9)] == ["new"]
    store.close()
    server.kill()
