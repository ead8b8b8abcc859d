"""A host: whom it answers, how it registers itself, and what becomes of its registration."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import httpx2
import pytest

from stepflow import (
    AsyncEngine,
    Command,
    DefinitionError,
    Engine,
    RetryPolicy,
    StateCtx,
    StepflowError,
    commit,
    flow,
    named,
    park,
    transit,
    workflow,
)
from stepflow.drivers.port.commit import Owner
from stepflow.drivers.registry import driver_for
from stepflow.engine.clock import SystemClock
from stepflow.model.flow import FlowOptions
from stepflow.model.host import FlowHost, host_of, registration
from stepflow.model.state import State
from stepflow.remote import remote_flow
from stepflow.server import flow_host
from stepflow.server.flow_host import HostEngine
from stepflow.wire import flowstate_pb2 as pb
from stepflow.wire.flow_calls import EXECUTE, call_bytes
from stepflow.wire.signature import DIGEST, SIGNATURE, TIME, Signer
from tests.remote.hosting import SECRET, body_of, hosted, respond

URL = "http://127.0.0.1:9000"
pytestmark = pytest.mark.anyio


@flow("work", retry=RetryPolicy(max_attempts=7, delay=0.5), concurrency=3, hung_after=30, max_crashes=5)
def work(ctx: StateCtx) -> Command:
    return commit(park(ctx, state="done"))


@asynccontextmanager
async def serving(store, flows=(work,), **options):
    application = flow_host(store, flows, **{"url": URL, "secret": SECRET, **options})
    async with application.router.lifespan_context(application):
        transport = httpx2.ASGITransport(application)
        async with httpx2.AsyncClient(transport=transport, base_url=URL) as client:
            yield client, application


def call(ctx=None, *, secret=SECRET, late_s=0, url=URL, raw=None, **changes):
    body = call_bytes(ctx or StateCtx("r", transition=registered_to("work"))) if raw is None else raw
    headers = Signer(secret).call(url, SystemClock().now() - late_s * 1_000_000, body)
    return {"content": body, "headers": {**headers, **changes}}


def registered_to(name):
    ctx = StateCtx("x")
    ctx.move(name, {})
    return ctx.transition


async def test_a_signed_call_is_answered_and_the_answer_is_signed(store):
    async with serving(store) as (client, _application):
        sent = call()
        answer = await client.post(EXECUTE, **sent)
        assert answer.status_code == 200
        command = pb.Command.FromString(answer.content).commit.commands[0]
        assert command.park.annotations == {"state": "done"}
        signature = answer.headers[SIGNATURE]
        assert Signer(SECRET).is_answer(sent["headers"][SIGNATURE], 200, answer.content, signature)


REFUSED = {
    "no signature": (lambda: call(**{SIGNATURE: ""}), 401),
    "another secret": (lambda: call(secret="x" * 40), 401),
    "an old time": (lambda: call(late_s=62), 401),
    "a time to come": (lambda: call(late_s=-120), 401),
    "another time": (lambda: call(**{TIME: "1"}), 401),
    "no time": (lambda: call(**{TIME: "yesterday"}), 401),
    "another host": (lambda: call(url="http://127.0.0.1:9001"), 401),
    "another digest": (lambda: call(**{DIGEST: "0" * 64}), 401),
    "another body": (lambda: {**call(), "content": b"another"}, 401),
    "no message": (lambda: call(raw=b"\xff\xff"), 400),
    "no State": (lambda: call(raw=b""), 400),
    "an unknown flow": (lambda: call(StateCtx("r", transition=registered_to("other"))), 404),
    "a parked State": (lambda: call(StateCtx("r")), 404),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_other_calls_are_refused_and_execute_nothing(name, store, caplog):
    called = []

    @flow("work")
    def noted(ctx: StateCtx) -> Command:
        called.append(ctx.id)
        return park(ctx)

    request, status = REFUSED[name]
    async with serving(store, [noted]) as (client, _application):
        answer = await client.post(EXECUTE, **request())
        assert (answer.status_code, called, SIGNATURE in answer.headers) == (status, [], False)
        assert pb.Error.FromString(answer.content).message
        assert SECRET not in caplog.text


async def test_a_stranger_s_body_is_not_read(store):
    async def never():
        raise AssertionError("the body was read")
        yield b""

    async with serving(store) as (client, _application):
        headers = call(secret="x" * 40)["headers"]
        assert (await client.post(EXECUTE, content=never(), headers=headers)).status_code == 401


async def test_a_busy_host_refuses(store):
    began, go = asyncio.Event(), asyncio.Event()

    @flow("work")
    async def slow(ctx: StateCtx) -> Command:
        began.set()
        await go.wait()
        return park(ctx)

    async with serving(store, [slow], concurrency=1) as (client, _application):
        first = asyncio.create_task(client.post(EXECUTE, **call()))
        await began.wait()
        assert (await client.post(EXECUTE, **call())).status_code == 503
        go.set()
        assert (await first).status_code == 200
        assert (await client.post(EXECUTE, **call())).status_code == 200


async def test_a_host_that_leaves_refuses_and_is_withdrawn(store):
    async with serving(store) as (client, application), AsyncEngine(store) as engine:
        assert [str(run.status) for run in await engine.runs(flow="stepflow.host")] == ["running"]
        await application.state.stop()
        assert [str(run.status) for run in await engine.runs(flow="stepflow.host")] == ["completed"]
        assert (await client.post(EXECUTE, **call())).status_code == 503
        assert (await client.get("/healthz")).text == "ok\n"


async def test_what_a_function_raises_is_answered_with_its_traceback(store):
    @flow("work")
    def broken(ctx: StateCtx) -> Command:
        raise ValueError("no such mail")

    async with serving(store, [broken]) as (client, _application):
        answer = await client.post(EXECUTE, **call())
        error = pb.Error.FromString(answer.content)
        assert (answer.status_code, error.code) == (500, "unknown")
        assert "no such mail" in error.message


async def test_the_call_of_a_caller_that_went_away_is_cancelled(store):
    ended = asyncio.Event()

    @flow("work")
    async def endless(ctx: StateCtx) -> Command:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return park(ctx)

    application = flow_host(store, [endless], url=URL, secret=SECRET)
    request = call()
    messages = [{"type": "http.request", "body": request["content"]}, {"type": "http.disconnect"}]
    sent = []

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message)

    headers = [(name.encode(), value.encode()) for name, value in request["headers"].items()]
    scope = {"type": "http", "method": "POST", "path": EXECUTE, "headers": headers, "query_string": b"", "client": None}
    async with application.router.lifespan_context(application):
        await application(scope, receive, send)
        assert ended.is_set()


async def test_a_registration_says_what_is_served_and_how(store):
    async with serving(store, url="http://127.0.0.1:9000/"), AsyncEngine(store) as engine:
        (run,) = await engine.runs(flow="stepflow.host")
        assert run.labels == {"stepflow.host": URL}
        host = host_of((await engine.get_state(run.id)).committed)
        assert host.flows == {"work": FlowOptions(3, RetryPolicy(max_attempts=7, delay=0.5), 30.0, 5)}


@pytest.mark.parametrize(
    "flows",
    ["{", "[]", '{"a": 1}', '{"a": {}}', '{"a": {"retry": {"max_attempts": 0}, "concurrency": null, "hung_after_s": 1, "max_crashes": 3}}',
     '{"a": {"retry": {}, "concurrency": "many", "hung_after_s": 1, "max_crashes": 3}}',
     '{"a": {"retry": {}, "concurrency": null, "hung_after_s": NaN, "max_crashes": 3}}',
     '{"a": {"retry": {}, "concurrency": null, "hung_after_s": Infinity, "max_crashes": 3}}',
     '{"a": {"retry": {}, "concurrency": null, "hung_after_s": 1, "max_crashes": 1%s}}' % ("0" * 400),
     "[" * 100_000],
    ids=lambda flows: flows[:80],
)  # fmt: skip
def test_a_registration_that_cannot_be_read_is_none(flows):
    state = registration("id", URL, {}, 0)
    with pytest.raises(ValueError):  # noqa: PT011 - the reason differs
        host_of(state._replace(annotations={"stepflow.host.flows": flows}))
    with pytest.raises(ValueError):  # noqa: PT011 - the reason differs
        host_of(State("id"))


async def test_a_host_that_others_took_for_dead_registers_anew(store):
    async with HostEngine(store) as engine:
        kept = engine.registration(URL, [work])
        await kept.register()
        await kept.check()
        (before,) = await engine.runs(flow="stepflow.host", status="running")
        other = driver_for(store).connect("", Owner("other", "", 0), SystemClock().now())
        (peer,) = [p.owner.id for p in other.beat(SystemClock().now()).peers]
        other.beat(SystemClock().now(), [peer])
        other.close()
        assert await engine.runs(flow="stepflow.host", status="running") == []
        await kept.check()
        (after,) = await engine.runs(flow="stepflow.host", status="running")
        assert after.id != before.id
        await kept.withdraw()
        await kept.withdraw()
        await kept.check()
        assert await engine.runs(flow="stepflow.host", status="running") == []


async def test_the_registration_of_a_dead_host_is_ended_by_a_worker(store):
    async with HostEngine(store) as engine:
        await engine.registration(URL, [work]).register()  # and nobody withdraws it: closing frees it
    async with serving(store, url="http://127.0.0.1:9001"), AsyncEngine(store) as engine:
        async for state in engine.watch({"stepflow.host": URL}):
            if state.transition.status:
                assert state.transition.status == "cancelled"
                break


def chain():
    return named("chain", dict).do("a", lambda exchange: None).compile()


@workflow("wf")
def a_workflow(wf, value: int) -> int:
    return value


WRONG = {
    "no flow": ({"flows": []}, DefinitionError),
    "a chain": ({"flows": [chain()]}, DefinitionError),
    "a workflow": ({"flows": [a_workflow]}, DefinitionError),
    "no flow at all": ({"flows": [print]}, DefinitionError),
    "no URL": ({"url": "127.0.0.1:9000"}, StepflowError),
    "a short secret": ({"secret": "short"}, StepflowError),
    "no concurrency": ({"concurrency": 0}, StepflowError),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_hosts_are_refused(name, store):
    options, error = WRONG[name]
    with pytest.raises(error):
        flow_host(store, **{"flows": [work], "url": URL, "secret": SECRET, **options})


async def goes_on(scope, receive, send):
    """What a flowstate host answers: it takes the State, and commits by itself."""
    await body_of(receive)
    await respond(send, 200, pb.Command(noop=pb.NoopCommand()).SerializeToString())


def flowstate_registration(url, action="set"):
    ctx = StateCtx("flowstate.flow.go", labels={"flow.type": "remote"})
    ctx.annotations |= {
        "flowstate.flow.transition_id": "go",
        "flowstate.flow.http_host": url,
        "flowstate.flow.action": action,
    }
    return ctx


def test_a_flowstate_host_takes_the_state_over(store, caller):
    with hosted(store, [work], goes_on) as go, caller(flowstate=True) as engine, Engine(store) as other:
        ctx = flowstate_registration(go.url)
        engine.do(commit(park(ctx)))
        run = engine.start(remote_flow("go"), id="r")
        engine.run_until_idle()
        assert (len(go.asked), str(run.status()), run.info().crashes) == (1, "sleeping", 1)
        theirs = other.get_state("r")
        assert theirs.rev == engine.get_state("r").rev  # nothing was committed that would refuse their commit
        other.do(commit(park(theirs, state="by the host")))
        engine.run_until_idle()
        assert (engine.get_state("r").annotation("state"), len(go.asked)) == ("by the host", 1)
        ctx.annotations["flowstate.flow.action"] = "unset"
        engine.do(commit(park(ctx)))
        engine.start(remote_flow("go"), id="r2")
        engine.run_until_idle()
        assert len(go.asked) == 1


def test_a_commit_of_a_flowstate_host_is_no_takeover(store, caller, caplog):
    """The host commits before its answer comes: what the worker held is gone, as was agreed."""
    with Engine(store) as other:

        async def commits_first(scope, receive, send):
            await body_of(receive)
            await asyncio.to_thread(lambda: other.do(commit(park(other.get_state("r"), state="by the host"))))
            await respond(send, 200, pb.Command(noop=pb.NoopCommand()).SerializeToString())

        with hosted(store, [work], commits_first) as go, caller(flowstate=True) as engine:
            engine.do(commit(park(flowstate_registration(go.url))))
            engine.start(remote_flow("go"), id="r")
            engine.run_until_idle()
            assert (engine.get_state("r").annotation("state"), len(go.asked)) == ("by the host", 1)
    assert [record.getMessage() for record in caplog.records if hasattr(record, "event")] == []


def test_a_flowstate_host_that_never_commits_is_asked_as_often_as_processes_may_die(store, caller):
    with hosted(store, [work], goes_on) as go, caller(flowstate=True) as engine:
        engine.do(commit(park(flowstate_registration(go.url))))
        ctx = StateCtx("r", annotations={"flowstate.recovery.retry_after": "1ms"})
        engine.do(commit(transit(ctx, "go")))
        with engine.worker():
            last = next(s for s in engine.watch(since=0) if s.id == "r" and s.transition.status)
        assert last.transition.status == "failed"
        assert len(go.asked) == 3


def test_commands_of_a_flowstate_host_are_not_taken(store, caller):
    message = pb.Command(state_ctxs=[pb.StateCtx(current=pb.State(id="r"))], park=pb.ParkCommand())
    message.park.state_ref.idx = 0

    async def commands(scope, receive, send):
        await body_of(receive)
        await respond(send, 200, message.SerializeToString())

    with hosted(store, [work], commands) as go, caller(flowstate=True) as engine:
        engine.do(commit(park(flowstate_registration(go.url))))
        run = engine.start(remote_flow("go"), id="r")
        engine.run_until_idle()
        assert run.info().error.type == "CallLost"
        assert not engine.get_state("r").parked


def test_hosts_of_flowstate_are_called_only_if_that_is_wanted(store, caller):
    with hosted(store, [work], goes_on) as go, caller() as engine:
        engine.do(commit(park(flowstate_registration(go.url))))
        run = engine.start(remote_flow("go"), id="r")
        engine.run_until_idle()
        assert (go.asked, str(run.status())) == ([], "queued")


def test_two_hosts_are_known_apart():
    assert FlowHost("1", URL, {}) != FlowHost("2", URL, {})
