"""What is not called, and what is not taken: each run of it waits or is tried again, and a good host executes it later."""

from __future__ import annotations

import asyncio
import threading
from contextlib import ExitStack, contextmanager

import pytest

from stepflow import (
    CallLost,
    Command,
    Engine,
    RetryPolicy,
    StateCtx,
    StepflowError,
    UnknownFlow,
    commit,
    flow,
    park,
    transit,
)
from stepflow.engine.clock import SystemClock
from stepflow.model.recovery import TRIED
from stepflow.remote import RemoteHosts, remote_flow
from stepflow.remote import remote_hosts as module
from stepflow.wire import flowstate_pb2 as pb
from stepflow.wire.signature import SIGNATURE, Signer
from tests.remote.hosting import SECRET, body_of, hosted, respond

WORK = remote_flow("work")
OTHER = "another secret, of no use elsewhere"
PATIENT = RetryPolicy(max_attempts=10_000, delay=0)


@flow("work", retry=PATIENT)
def work(ctx: StateCtx) -> Command:
    return commit(park(ctx, state="done"))


@contextmanager
def run_of(caller, store, answer=None, **options):
    """An engine, a run that is due, and its only host, which answers like this."""
    with hosted(store, [work], answer, **options) as host, caller() as engine:
        yield engine, engine.start(WORK, id="r"), host


def finish(store, caller):
    """A good host executes what is left."""
    with hosted(store, [work]), caller() as engine, engine.worker():
        next(s for s in engine.watch(since=0) if s.id == "r" and s.transition.annotations.get("state") == "done")


def attempts(engine):
    return int(engine.get_state("r").transition.annotations.get(TRIED, "0"))


def test_explain_names_the_worker_that_calls_the_host(caller, store):
    with hosted(store, [work]) as host, Engine(store) as engine:
        run = engine.start(WORK, id="r")
        assert f"run `stepflow worker --remote {host.url} --secret-file FILE --store" in run.explain()
        assert "MODULE" not in run.explain()


def test_explain_tells_that_all_hosts_have_left_and_how_to_start_one(caller, store):
    with caller() as engine, Engine(store) as other:
        with hosted(store, [work]) as host:
            engine.start(WORK, id="r0")
            engine.run_until_idle()
        run = engine.start(WORK, id="r")
        engine.run_until_idle()
        for text in (run.explain(), other.get("r").explain()):
            assert f"no host that may be called serves flow 'work' now, {host.url} has left" in text
            assert f"`stepflow host MODULE --url {host.url} --secret-file FILE --store" in text
            assert ("about to take it" in text, "stepflow worker MODULE" in text) == (False, False)


def test_explain_tells_of_a_host_that_the_worker_may_not_call(caller, store):
    with ExitStack() as stack:
        first = stack.enter_context(hosted(store, [work]))
        with caller(hosts=[first.url]) as engine:
            engine.start(WORK, id="r0")
            engine.run_until_idle()
            stack.close()
            with hosted(store, [work]) as second:
                run = engine.start(WORK, id="r")
                engine.run_until_idle()
                assert f"or may not call {second.url}, which serves the flow now" in run.explain()
                assert f"give it `--remote {second.url}`" in run.explain()


def signed_with(secret, body, status=200):
    async def answer(scope, receive, send):
        call = dict(scope["headers"])[SIGNATURE.encode()].decode()
        await body_of(receive)
        await respond(send, status, body, **{SIGNATURE: Signer(secret).answer(call, status, body)})

    return answer


def plain(status, body=b"", **headers):
    async def answer(scope, receive, send):
        await body_of(receive)
        await respond(send, status, body, **headers)

    return answer


async def of_another_call(scope, receive, send):
    await body_of(receive)
    body = pb.Command(noop=pb.NoopCommand()).SerializeToString()
    await respond(send, 200, body, **{SIGNATURE: Signer(SECRET).answer("0" * 64, 200, body)})


async def half(scope, receive, send):
    await body_of(receive)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"100")]})
    await send({"type": "http.response.body", "body": b"half", "more_body": True})
    raise ConnectionError("the host dies here")


async def endless(scope, receive, send):
    await body_of(receive)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(30):  # three times what is taken
        await send({"type": "http.response.body", "body": bytes(100_000), "more_body": True})


PARK = pb.Command(state_ctxs=[pb.StateCtx(current=pb.State(id="r"))], park=pb.ParkCommand())
PARK.park.state_ref.idx = 0
LOST = {
    "no signature": plain(200, PARK.SerializeToString()),
    "a wrong signature": signed_with(OTHER, PARK.SerializeToString()),
    "a signature of another call": of_another_call,
    "no message": signed_with(SECRET, b"\xff\xff\xff"),
    "an empty answer": signed_with(SECRET, b""),
    "a query": signed_with(SECRET, pb.Command(get_states=pb.GetStatesCommand(limit=1)).SerializeToString()),
    "an error that is none": signed_with(SECRET, pb.Error(code="unknown", message="no JSON").SerializeToString(), 500),
    "a status of a proxy": plain(502, b"bad gateway"),
    "half an answer": half,
    "an endless answer": endless,
}


@pytest.mark.parametrize("name", LOST)
def test_an_answer_that_cannot_be_used_is_an_attempt(name, store, caller, monkeypatch):
    monkeypatch.setattr(module, "MAX_ANSWER", 1_000_000)
    with run_of(caller, store, LOST[name]) as (engine, run, host):
        engine.run_until_idle()
        assert host.asked
        assert attempts(engine) >= 1
        assert run.info().error.type == "CallLost"
        assert not engine.get_state("r").parked
    finish(store, caller)


def test_a_redirect_is_not_followed(store, caller):
    async def elsewhere(scope, receive, send):
        await respond(send, 200, b"")

    with hosted(store, [work], elsewhere, namespace="other") as target:
        redirect = plain(307, location=f"{target.url}/flowstate.v1.Flow/Execute")
        with run_of(caller, store, redirect) as (engine, run, host):
            engine.run_until_idle()
            assert attempts(engine) >= 1
            assert "answered 307" in run.info().error.message
            assert (len(host.asked) >= 1, target.asked) == (True, [])
    finish(store, caller)


def test_a_call_has_a_time_limit(store, caller):
    async def silent(scope, receive, send):
        while (await receive())["type"] != "http.disconnect":
            pass

    with hosted(store, [work], silent), caller(timeout=0.05) as engine:
        run = engine.start(WORK, id="r")
        engine.run_until_idle()
        assert attempts(engine) >= 1
        assert "within 0.05 s" in run.info().error.message
    finish(store, caller)


def test_the_limit_is_that_of_the_whole_call_however_slowly_the_answer_comes(store, caller):
    async def dripping(scope, receive, send):
        await body_of(receive)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        gone = asyncio.ensure_future(receive())
        while not gone.done():
            await send({"type": "http.response.body", "body": b".", "more_body": True})
            await asyncio.wait([gone], timeout=0.01)

    with hosted(store, [work], dripping), caller(timeout=0.2) as engine:
        run = engine.start(WORK, id="r")
        engine.run_until_idle()
        assert "within 0.2 s" in run.info().error.message
    finish(store, caller)


NOT_LISTED = {
    "no other entry": [],
    "another port": ["http://127.0.0.1:1"],
    "another host": ["http://10.0.0.7:9000"],
}


@pytest.mark.parametrize("name", NOT_LISTED)
def test_a_host_that_is_not_listed_is_never_connected_to(name, store, caller, caplog):
    with hosted(store, [work]) as host, caller(hosts=NOT_LISTED[name]) as engine:
        run = engine.start(WORK, id="r")
        engine.run_until_idle()
        engine.run_until_idle()
        assert (host.asked, str(run.status())) == ([], "queued")
        assert [r.getMessage() for r in caplog.records if "not in the list" in r.getMessage()] == [
            f"host '{host.url}' of work is not called: it is not in the list of allowed hosts: add '{host.url}' to it if it is one of yours"
        ]
    finish(store, caller)


def test_a_registration_of_another_form_is_not_called(store, caller, caplog):
    """What a stranger writes into the store is read as data."""
    with caller() as engine:
        for number, url in enumerate(("http://127.0.0.1:80@10.0.0.7", "file:///etc/passwd", "http://127.0.0.1/../x")):
            ctx = StateCtx(f"forged-{number}", labels={"flow.type": "remote"})
            ctx.annotations |= {"flowstate.flow.transition_id": "work", "flowstate.flow.http_host": url}
            engine.do(commit(park(ctx)))
    with caller(flowstate=True) as engine:
        run = engine.start(WORK, id="r")
        engine.run_until_idle()
        assert str(run.status()) == "queued"
    assert len([r for r in caplog.records if "is not called" in r.getMessage()]) == 3
    finish(store, caller)


def test_a_wrong_secret_blocks_the_run_and_says_so(store, caller, caplog):
    with hosted(store, [work], secret=OTHER), caller() as engine:
        run = engine.start(WORK, id="r")
        for _try in range(3):
            engine.run_until_idle()
        assert str(run.status()) == "blocked"
        assert "401: the call is refused: it is not signed with the secret of this host" in run.explain()
        assert attempts(engine) == 0
        told = [
            record.getMessage()
            for record in caplog.records
            if "not signed" in record.getMessage() and record.name == "stepflow"
        ]
        assert len(told) == 1, told
        run.redrive()
        assert run.timeline()[0].text == "redriven"
    finish(store, caller)


def test_a_host_that_is_reached_by_another_url_takes_no_call(store, caller):
    with socket_free() as url, hosted(store, [work], url=url) as host, caller() as engine:
        ctx = StateCtx("s")
        engine.do(commit(transit(ctx, "work")))
        with pytest.raises(UnknownFlow, match="cannot be reached"):
            engine.execute(ctx)
        assert host.asked == []


@contextmanager
def socket_free():
    """A URL at which nothing listens."""
    yield "http://127.0.0.1:1"


class Late(SystemClock):
    """A clock that is two minutes late."""

    def now(self) -> int:
        return super().now() - 120_000_000


def test_an_old_call_is_refused_and_blocks_the_run(store, caller):
    with hosted(store, [work]), caller(clock=Late()) as engine:
        run = engine.start(WORK, id="r")
        engine.run_until_idle()
        assert str(run.status()) == "blocked"
        assert "it was signed more than 60 s ago" in run.explain()
        assert attempts(engine) == 0
    finish(store, caller)


REFUSED = {"busy": (503, "queued"), "too large": (413, "blocked"), "not served": (404, "blocked")}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_is_no_attempt(name, store, caller):
    status, _expected = REFUSED[name]
    with run_of(caller, store, plain(status, pb.Error(message="refused").SerializeToString())) as (engine, run, host):
        engine.run_until_idle()
        assert host.asked
        assert attempts(engine) == 0
        assert (str(run.status()) == "blocked") == (status != 503)
    finish(store, caller)


def test_a_refusal_cannot_forge_a_line_of_the_log(store, caller, caplog):
    lines = pb.Error(message="no\n2030-01-01 ERROR stepflow: forged \x1b[31m").SerializeToString()
    with run_of(caller, store, plain(403, lines)) as (engine, run, _host):
        engine.run_until_idle()
        assert r"no\n2030-01-01 ERROR stepflow: forged \x1b[31m" in run.explain()
    assert all("\n2030" not in record.getMessage() and "\x1b" not in record.getMessage() for record in caplog.records)


def test_a_refusal_lets_another_host_execute(store, caller):
    with hosted(store, [work]) as good, hosted(store, [work], plain(503)), caller(concurrency=1) as engine:
        for number in range(4):
            engine.start(WORK, id=f"r{number}")
        engine.run_until_idle()
        assert [engine.get_state(f"r{number}").annotation("state") for number in range(4)] == ["done"] * 4
        assert len(good.asked) == 4


def test_secrets_are_not_shown(store, caplog):
    remote = RemoteHosts(secret=SECRET)
    assert SECRET not in repr(remote) + repr(vars(remote))


WRONG = {
    "no secret": {"secret": ""},
    "a short one": {"secret": "short"},
    "no list": {"secret": SECRET, "hosts": "http://10.0.0.7:9000"},
    "no URL": {"secret": SECRET, "hosts": ["10.0.0.7"]},
    "no limit": {"secret": SECRET, "timeout": None},
    "a negative limit": {"secret": SECRET, "timeout": -1},
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_options_are_refused(name):
    with pytest.raises(StepflowError):
        RemoteHosts(**WRONG[name])


def test_a_named_flow_is_not_registered_or_called(caller):
    with caller() as engine, pytest.raises(StepflowError, match="do not register it"):
        engine.register(WORK)
    with pytest.raises(UnknownFlow, match="only its hosts"):
        WORK(StateCtx("r"))
    with pytest.raises(StepflowError):
        remote_flow("")


def test_a_cancel_ends_the_call(store, caller):
    began, ended = threading.Event(), threading.Event()

    @flow("long")
    async def long(ctx: StateCtx) -> Command:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return commit(park(ctx))

    with hosted(store, [long]), caller() as engine, engine.worker():
        run = engine.start(remote_flow("long"), id="r")
        assert began.wait(60)
        run.cancel()
        next(s for s in engine.watch(since=0) if s.transition.status == "cancelled")
        assert ended.wait(60)


def test_lost_calls_are_told_to_a_caller(store, caller):
    with hosted(store, [work], plain(502)), caller() as engine:
        ctx = StateCtx("s")
        engine.do(commit(transit(ctx, "work")))
        with pytest.raises(CallLost, match="answered 502 without its signature"):
            engine.execute(ctx)
        assert engine.get_state("s").transition.to == "work"
