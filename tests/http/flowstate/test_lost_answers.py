"""Answers that are lost, servers that are killed in the middle of a commit: each commit is made once, and its outcome is told."""

from __future__ import annotations

import itertools
import signal
import socket
import threading
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from stepflow import Engine, RevMismatch, StateCtx, commit, delay, flow, park, transit
from stepflow.drivers.http import HttpDriver
from stepflow.drivers.http.flowstate.client import FlowstateClient
from stepflow.drivers.port.commit import Owner
from stepflow.errors import OutcomeUnknown, StoreError, Unavailable
from stepflow.model.commands import GetDelayedStates, StoreData
from tests.http.cutting import Cutter
from tests.http.flowstate.served import FlowstateProcess
from tests.ports import refusing_port

pytestmark = pytest.mark.usefixtures("forking")

LIMIT_S = 60
FAR = datetime(9000, 1, 1, tzinfo=UTC)
_namespaces = itertools.count(1)


@pytest.fixture
def restarted(tmp_path, monkeypatch):
    monkeypatch.setattr("stepflow.drivers.http.client.RETRY_S", LIMIT_S)  # a busy machine starts it in more than 10 s
    server = FlowstateProcess(tmp_path)
    yield server
    server.kill()


def asks(method: str, times: int, then: Callable[[], object] = lambda: None) -> Callable[[bytes], bool]:
    """Selects the first requests of a method, and does something first."""
    left = [times]

    def selects(request: bytes) -> bool:
        if not request.split(b" ")[1].endswith(b"Driver/" + method.encode()) or not left[0]:
            return False
        left[0] -= 1
        then()
        return True

    return selects


def never(_request: bytes) -> bool:
    return False


class Behind:
    """Engines behind a cutter, in a namespace of their own: `direct` goes past the cutter."""

    def __init__(self, server: FlowstateProcess, cuts=never, drops=never) -> None:
        self.name = f"n{next(_namespaces)}"
        self.cutter = Cutter(server.port, cuts, drops)
        self.url = f"http://{self.name}@127.0.0.1:{self.cutter.port}"
        self.direct = server.url(self.name)

    def __enter__(self) -> Behind:
        return self

    def __exit__(self, *_error: object) -> None:
        self.cutter.close()


@pytest.mark.parametrize("where", ["cuts", "drops"])
def test_a_commit_whose_answer_or_request_is_lost_is_made_once(flowstate_server, where):
    with Behind(flowstate_server, **{where: asks("Commit", 2)}) as behind, Engine(behind.url) as engine:
        one, two = StateCtx("one", {"l": "1"}), StateCtx("two")
        engine.do(commit(transit(one, "f", k="v"), park(two)))
        assert behind.cutter.cut == (1 if where == "cuts" else 2)  # one that was made is not sent again
        found = engine.states().states
        assert [(state.id, state.rev) for state in found] == [("one", one.rev), ("two", two.rev)]
        assert (one.committed, two.committed) == found
        assert one.transition.annotations == {"k": "v"}
        engine.do(commit(park(one)))
        assert len(engine.states().states) == 3


def test_a_commit_that_others_moved_on_before_its_answer_was_lost_is_found(flowstate_server):
    def moves() -> None:
        with Engine(behind.direct) as other:
            for _ in range(3):
                other.do(commit(park(other.get_state("s"))))
            other.do(commit(park(StateCtx("another"))))

    with Behind(flowstate_server, cuts=asks("Commit", 1, moves)) as behind, Engine(behind.url) as engine:
        ctx = StateCtx("s", annotations={"by": "me"})
        engine.do(commit(transit(ctx, "f")))
        states = engine.states().states
        assert ctx.committed == states[0]
        assert [state.id for state in states] == ["s", "s", "s", "s", "another"]
        with pytest.raises(RevMismatch):
            engine.do(commit(park(ctx)))


def test_the_same_commit_by_another_client_is_not_taken_for_ours(flowstate_server):
    """Two clients lock a mutex with the same words: if the first request of one is lost, it must not believe that it has the lock."""

    def locks() -> None:
        with Engine(behind.direct) as other:
            other.do(commit(park(other.get_state("mutex"), state="locked")))

    armed, drops = False, asks("Commit", 1, locks)
    with (
        Behind(flowstate_server, drops=lambda request: armed and drops(request)) as behind,
        Engine(behind.url) as engine,
    ):
        mutex = StateCtx("mutex")
        engine.do(commit(park(mutex, state="unlocked")))
        armed = True
        with pytest.raises(RevMismatch) as caught:
            engine.do(commit(park(mutex, state="locked"), transit(StateCtx("me"), "protected")))
        assert caught.value.ids == ["mutex"]
        assert [state.id for state in engine.states().states] == ["mutex", "mutex"]
        assert mutex.annotation("state") == "unlocked"


def test_a_request_that_arrives_after_it_was_sent_again(flowstate_server):
    """The first one is on its way while the commit is read, and sent again: it comes first, and the second is refused."""
    kept: list[bytes] = []

    def keeps(request: bytes) -> bool:
        if not asks_commit(request):
            return False
        kept.append(request)
        return True

    def hands_on(request: bytes) -> bool:
        if b"Driver/Commit" in request.split(b"\r\n")[0] and kept:
            with socket.create_connection(("127.0.0.1", flowstate_server.port)) as late:
                late.sendall(kept.pop())
                assert late.recv(65536).startswith(b"HTTP/1.1 200")
        return keeps(request)

    asks_commit = asks("Commit", 1)
    with Behind(flowstate_server, drops=hands_on) as behind, Engine(behind.url) as engine:
        ctx = StateCtx("s")
        engine.do(commit(park(ctx)))
        assert engine.states().states == (ctx.committed,)


def test_data_and_delays_whose_answers_are_lost(flowstate_server):
    def cuts(request: bytes) -> bool:
        return data(request) or lone(request)

    data, lone = asks("StoreData", 1), asks("Delay", 1)
    with Behind(flowstate_server, cuts=cuts) as behind, Engine(behind.url) as engine:
        ctx = StateCtx("s")
        ctx.set_data("blob", b"\0\xff", binary=True)
        engine.do(commit(StoreData(ctx, "blob"), park(ctx)))
        assert ctx.data("blob").rev == 2  # the first one is there as well, and nothing refers to it
        engine.do(delay(ctx, "later", 3600))
        engine.do(delay(ctx, "without", 3600, commit=False))
        found = engine.do(GetDelayedStates(until=FAR))
        assert [one.state.transition.to for one in found] == ["later", "without"]
        assert behind.cutter.cut == 2


def test_a_delay_without_commit_that_was_perhaps_stored_is_not_stored_again(flowstate_server):
    with Behind(flowstate_server, drops=asks("Delay", 1)) as behind, Engine(behind.url) as engine:
        with pytest.raises(OutcomeUnknown, match="whether the delay of 's' was stored is not known"):
            engine.do(delay(StateCtx("s"), "f", 3600, commit=False))
        assert engine.do(GetDelayedStates(until=FAR)) == []
    with Behind(flowstate_server, drops=asks("Delay", 1)) as behind, Engine(behind.url) as engine:
        engine.do(delay(StateCtx("s"), "f", 3600))
        assert len(engine.do(GetDelayedStates(until=FAR))) == 1


@pytest.mark.parametrize("where", ["cuts", "drops"])
def test_a_server_that_is_killed_in_a_commit(restarted, where):
    def restart() -> None:
        restarted.kill()
        restarted.start()

    with Behind(restarted, **{where: asks("Commit", 1, restart)}) as behind, Engine(behind.url) as engine:
        ctx = StateCtx("s", annotations={"n": "1"})
        engine.do(commit(park(ctx)))
        assert behind.cutter.cut == 1
        ctx.annotations["n"] = "2"
        engine.do(commit(park(ctx)))
        assert [(state.rev, state.annotations["n"]) for state in engine.states().states] == [
            (ctx.rev - 1, "1"),
            (ctx.rev, "2"),
        ]


def test_a_worker_goes_on_when_its_server_is_killed_and_started_again(restarted):
    begun, calls, lock = threading.Event(), list[str](), threading.Lock()

    def going(name: str, to: str):
        @flow(name)
        def fn(ctx):
            with lock:
                calls.append(f"{ctx.id} {name}")
            begun.set()
            return commit(transit(ctx, to)) if to else commit(park(ctx, done="yes"))

        return fn

    flows = [going("a", "b"), going("b", "c"), going("c", "d"), going("d", "")]
    with Engine(restarted.url()) as engine:
        engine.register(*flows)
        states = [StateCtx(f"s{number}") for number in range(20)]
        with engine.worker():
            watch = engine.watch()
            engine.do(commit(*(delay(ctx, "a", 0) for ctx in states)))
            assert begun.wait(LIMIT_S)
            restarted.kill()
            restarted.start()
            done, seen = 0, dict[str, list[str]]()
            while done < 20:
                state = watch.next(timeout=LIMIT_S)
                assert state is not None, (done, seen)
                seen.setdefault(state.id, []).append(state.transition.to)
                done += state.parked
    assert seen == {f"s{number}": ["a", "b", "c", "d", ""] for number in range(20)}


def test_a_server_that_does_not_answer_in_time(flowstate_server, monkeypatch):
    with Behind(flowstate_server) as behind, Engine(behind.direct) as engine:
        ctx = StateCtx("s")
        engine.do(commit(park(ctx)))
        monkeypatch.setattr("stepflow.drivers.http.client.READ_S", 0.3)
        monkeypatch.setattr("stepflow.drivers.http.client.RETRY_S", 0.3)
        flowstate_server.signal(signal.SIGSTOP)
        try:
            with pytest.raises(OutcomeUnknown, match="whether a commit of 's' was made is not known"):
                engine.do(commit(park(ctx)))
            with pytest.raises(Unavailable, match=r"does not answer: timed out$"):
                engine.get_state("s")
        finally:
            flowstate_server.signal(signal.SIGCONT)
        monkeypatch.setattr("stepflow.drivers.http.client.READ_S", 30.0)
        monkeypatch.setattr("stepflow.drivers.http.client.RETRY_S", 10.0)
        assert ctx.committed.rev == ctx.rev
        assert engine.get_state("s").rev in (ctx.rev, ctx.rev + 1)  # the server carried out what it had got, perhaps


def test_a_server_that_is_gone(flowstate_server, monkeypatch):
    cutter = Cutter(flowstate_server.port, never)
    store = HttpDriver(f"http://127.0.0.1:{cutter.port}").connect("", Owner("a", "host", 1), 0)
    monkeypatch.setattr("stepflow.drivers.http.client.RETRY_S", 0.3)
    with refusing_port() as port:
        client = FlowstateClient(f"http://127.0.0.1:{port}")
        with pytest.raises(
            Unavailable, match=f"http://127.0.0.1:{port} does not answer: Connection refused$"
        ):  # it was never sent
            client.call("Commit", (), b"", writes=True)
    store.close()
    with pytest.raises(StoreError, match="this session is closed"):
        store.commit([], 0)
    cutter.close()
