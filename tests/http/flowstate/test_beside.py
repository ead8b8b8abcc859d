"""Beside programs of flowstate: what they commit is understood here, and what is committed here is what they expect."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import httpx2
import pytest
from attrs import evolve

from stepflow import Engine, RevMismatch, StateCtx, StoreError, commit, delay, flow, park, transit
from stepflow.drivers.http import HttpDriver
from stepflow.drivers.http.flowstate.writes import Writes
from stepflow.drivers.port.commit import Owner
from stepflow.drivers.port.queries import RunQuery
from stepflow.engine.clock import timestamp
from stepflow.errors import Unavailable
from stepflow.model.commands import GetData, GetDelayedStates, Stack, StoreData
from stepflow.testing import VirtualClock
from stepflow.wire import flowstate_pb2 as pb

LIMIT_S = 60
FAR = datetime(9000, 1, 1, tzinfo=UTC)


class Program:
    """Sends messages as the origin's client does."""

    def __init__(self, url: str) -> None:
        scheme, _, rest = url.partition("://")
        token, _, place = rest.rpartition("@")
        self._url, self._headers = f"{scheme}://{place}", {"authorization": f"Bearer {token}"}

    def post(self, method: str, command: pb.Command) -> pb.Command:
        raw = command.SerializeToString()
        answer = httpx2.post(
            f"{self._url}/flowstate.v1.Driver/{method}", content=raw, headers=self._headers, timeout=LIMIT_S
        )
        assert answer.status_code == 200, answer.content
        return pb.Command.FromString(answer.content)

    def read(self, state_id: str) -> pb.StateCtx:
        command = pb.Command(state_ctxs=[pb.StateCtx()])
        command.get_state_by_id.id, command.get_state_by_id.state_ref.idx = state_id, 0
        return self.post("GetStateByID", command).state_ctxs[0]

    def transit(self, ctx: pb.StateCtx, to: str, **notes: str) -> pb.StateCtx:
        command = pb.Command(state_ctxs=[ctx])
        part = command.commit.commands.add()
        part.transit.to, part.transit.state_ref.idx = to, 0
        part.transit.annotations.update(notes)
        return self.post("Commit", command).state_ctxs[0]


def test_each_reads_what_the_other_committed(flowstate_url):
    program = Program(flowstate_url)
    with Engine(flowstate_url) as engine:
        ours = StateCtx("ours", {"l": "1"}, {"a": "2"})
        engine.do(commit(transit(ours, "f", why="new")))
        seen = program.read("ours").current
        assert (seen.rev, dict(seen.labels), dict(seen.annotations)) == (ours.rev, {"l": "1"}, {"a": "2"})
        notes = dict(seen.transition.annotations)
        assert len(notes.pop("stepflow.commit")) == 16
        assert (seen.transition.to, notes) == ("f", {"why": "new"})
        program.transit(program.read("ours"), "g", by="go")
        with pytest.raises(RevMismatch):
            engine.do(commit(park(ours)))
        moved = engine.get_state("ours")
        assert (moved.transition.to, dict(moved.transition.annotations)) == ("g", {"by": "go"})
        watch = engine.watch(since="latest")
        assert watch.next(timeout=LIMIT_S) == moved.committed
        theirs = program.transit(pb.StateCtx(current=pb.State(id="theirs")), "f")
        assert watch.next(timeout=LIMIT_S).rev == theirs.committed.rev


def test_a_stacked_state_has_the_revision_of_its_commit(flowstate_url):
    with Engine(flowstate_url) as engine:
        mutex, me = StateCtx("mutex", {"mutex": "m"}), StateCtx("me")
        mutex.set_data("note", "hello")
        engine.do(
            commit(StoreData(mutex, "note"), park(mutex, state="locked"), Stack(me, mutex, "held"), transit(me, "f"))
        )
    stacked = pb.StateCtx.FromString(base64.b64decode(Program(flowstate_url).read("me").current.annotations["held"]))
    assert stacked.current.rev == stacked.committed.rev == mutex.rev > 0
    assert (stacked.current.id, dict(stacked.current.labels)) == ("mutex", {"mutex": "m"})
    assert stacked.datas["note"].blob == "hello"


def test_each_reads_the_data_of_the_other(flowstate_url):
    command = pb.Command(state_ctxs=[pb.StateCtx(current=pb.State(id="s"))])
    command.state_ctxs[0].datas["d"].blob = base64.b64encode(b"\0\xff").decode()
    command.state_ctxs[0].datas["d"].annotations["binary"] = "true"
    command.store_data.alias, command.store_data.state_ref.idx = "d", 0
    rev = Program(flowstate_url).post("StoreData", command).state_ctxs[0].datas["d"].rev
    with Engine(flowstate_url) as engine:
        ctx = StateCtx("s", annotations={"flowstate.data.d": str(rev)})
        engine.do(GetData(ctx, "d"))
        assert (ctx.data("d").blob, ctx.data("d").binary) == (b"\0\xff", True)
        mine = StateCtx("mine")
        mine.set_data("text", "hello")
        engine.do(StoreData(mine, "text"))
    command = pb.Command(state_ctxs=[pb.StateCtx(current=pb.State(id="mine", annotations=mine.annotations))])
    command.get_data.alias, command.get_data.state_ref.idx = "text", 0
    data = Program(flowstate_url).post("GetData", command).state_ctxs[0].datas["text"]
    assert (data.blob, data.annotations["checksum/xxhash64"]) == (
        "hello",
        mine.data("text").annotations["checksum/xxhash64"],
    )


def test_the_delayer_of_another_program_is_first(flowstate_url):
    """Each moves the State of a delay by a commit: one of the two is refused, and the function is executed once."""
    calls: list[str] = []

    @flow("f")
    def work(ctx: StateCtx):
        calls.append(ctx.id)
        return commit(park(ctx))

    program, clock = Program(flowstate_url), VirtualClock(datetime.now(UTC))
    with Engine(flowstate_url, clock=clock) as engine:
        engine.register(work)
        ctx = StateCtx("s")
        engine.do(commit(park(ctx)), delay(ctx, "f", 5))
        assert engine.run_until_idle().next_due is not None  # the delay is known here
        (found,) = engine.do(GetDelayedStates(until=FAR))
        program.transit(program.read("s"), "f", **found.state.transition.annotations)
        clock.advance(10)
        engine.run_until_idle()
        assert calls == []  # the program that moved it goes on with it, for its time of recovery
        clock.advance(timedelta(minutes=3))
        engine.run_until_idle()
    assert calls == ["s"]


def test_claims_that_were_made_before_an_error_are_not_lost(flowstate_url, monkeypatch):
    with Engine(flowstate_url) as engine:
        engine.do(*(commit(transit(StateCtx(f"s{number}"), "f")) for number in range(4)))
    now = timestamp(datetime.now(UTC) + timedelta(minutes=3))
    store = HttpDriver(flowstate_url).connect("", Owner("a", "host", 1), now)
    commits = iter([Writes.commit, Writes.commit, None])

    def failing(writes, request):
        if (real := next(commits)) is None:
            raise Unavailable("the server is away")
        return real(writes, request)

    with monkeypatch.context() as patched:
        patched.setattr(Writes, "commit", failing)
        claims = store.claim({"f": "1"}, now, 4)
    assert [claim.fence.id for claim in claims] == ["s0", "s1"]
    page = RunQuery(now, status="running", order="id", ascending=True, limit=1)
    (first,) = store.read(page)
    assert [record.state.id for record in (first, *store.read(evolve(page, limit=9, after=page.key_of(first))))] == ["s0", "s1"]  # fmt: skip
    assert [claim.fence.id for claim in store.claim({"f": "1"}, now, 4)] == ["s2", "s3"]
    with pytest.raises(StoreError, match="no lists of runs"):
        store.read(RunQuery(now, status="running"))
    store.close()
