"""Payloads for the wait of a workflow, which no code of the caller knows: the schema that the run stored tells what fits."""

from __future__ import annotations

import attrs
import pytest

from stepflow import AsyncContext, CodecError, Context, Engine, RunFilter, named, workflow
from stepflow.model.json_schema import json_schema


@attrs.define
class Answer:
    approved: bool
    amount: int = 0


@workflow("asks.v1")
def asks(wf: Context) -> str:
    answer = wf.wait_for_event("answer", "answered", Answer)
    return wf.wait_for_event("why", "answered", str) if answer.approved else "no"


UNFIT = {"approved": True, "amount": "much"}


@pytest.fixture
def waiting(engine):
    """Two runs that wait; the engine that publishes does not know their flow."""
    engine.register(asks)
    for run_id in ("a", "b"):
        engine.start(asks, id=run_id)
    engine.run_until_idle()
    return engine


@pytest.fixture(params=[True, False], ids=["registered", "unknown"])
def publisher(request, waiting, store, clock):
    """An engine that may know the workflow: neither knows the types of its waits."""
    with Engine(store, clock=clock) as engine:
        if request.param:
            engine.register(asks)
        yield engine


def test_an_unfit_payload_is_refused_with_its_field(waiting, publisher):
    run = publisher.get("a")
    with pytest.raises(CodecError) as refused:
        run.check_event("answered", UNFIT)
    assert str(refused.value) == (
        "event 'answered' of run 'a': the payload does not fit what it waits for: amount: \"much\" does not fit: give a whole number, e.g. 3"
    )
    with pytest.raises(CodecError, match='it has no "approved": give true or false'):
        run.check_event("answered", {"amount": 1})
    run.check_event("answered", Answer(True))
    run.check_event("other", "anything")
    done = publisher.publish(RunFilter(flow="asks.v1"), "answered", UNFIT, dry_run=False)
    assert (done.count, set(done.skipped)) == (0, {"a", "b"})
    assert "amount" in done.skipped["a"]
    assert publisher.publish(["a"], "answered", Answer(True)).ids == ["a"]
    assert waiting.get("a").info().unread == {"answered": 1}


def test_what_comes_behind_an_event_is_for_another_wait(waiting, publisher):
    publisher.publish(["a"], "answered", Answer(True))
    publisher.get("a").check_event("answered", "because")
    assert publisher.publish(["a"], "answered", "because").ids == ["a"]
    waiting.run_until_idle()
    assert waiting.get("a").result() == "because"


def test_so_it_is_while_the_run_is_paused(waiting, publisher):
    run = publisher.get("a")
    run.pause()
    with pytest.raises(CodecError, match="amount"):
        run.check_event("answered", UNFIT)
    run.publish("answered", Answer(True))
    run.check_event("answered", "because")
    assert publisher.publish(["a"], "answered", "because").ids == ["a"]
    run.resume()
    waiting.run_until_idle()
    assert waiting.get("a").result() == "because"


def test_a_run_that_does_not_wait_for_it_takes_any_payload(waiting, publisher):
    waiting.get("a").publish("answered", Answer(False))
    waiting.run_until_idle()
    publisher.get("a").check_event("answered", UNFIT)  # that it has ended is told by publish
    waiting.get("b").publish("answered", Answer(True))
    waiting.run_until_idle()
    with pytest.raises(CodecError, match="give a text"):  # the second wait has another type
        publisher.get("b").check_event("answered", {"approved": True})


@workflow("twice.v1")
async def twice(wf: AsyncContext) -> str:
    found = (
        wf.wait_for_event("x", "told", int),
        wf.wait_for_event("y", "told", str),
        wf.wait_for_event("z", "else", str),
    )
    return repr(await wf.gather(*found))


def test_an_event_for_which_two_branches_wait_may_be_for_either(engine):
    engine.register(twice)
    run = engine.start(twice, id="a")
    engine.run_until_idle()
    assert set(run.info().payload_schemas) == {"else"}
    for name, payload in (("told", 1), ("told", "s"), ("else", "e")):
        run.check_event(name, payload)
        run.publish(name, payload)
    engine.run_until_idle()
    assert run.result() == "(1, 's', 'e')"


def test_the_check_of_runs_by_ids_reads_nothing_more(waiting, store, clock, monkeypatch):
    reads = []
    with Engine(store, clock=clock) as engine:
        reader = engine._engine._session.reader
        read, load = reader.read, reader.load
        monkeypatch.setattr(reader, "read", lambda query: (reads.append(query), read(query))[1])
        monkeypatch.setattr(reader, "load", lambda ids: (reads.append(ids), load(ids))[1])
        engine.publish(["a", "b"], "answered", UNFIT)
        assert len(reads) == 1
        engine.get(asks, "a").publish("answered", Answer(True))
        assert len(reads) == 1


approved = named("approve.v1", dict[str, int]).wait_event("answer", "answered", Answer, lambda _order, _answer: None)


def test_the_wait_of_a_chain_tells_it_too_without_its_code(engine, store, clock):
    flow = approved.compile()
    engine.register(flow)
    run = engine.start(flow, {"n": 1}, id="a")
    engine.run_until_idle()
    with Engine(store, clock=clock) as other:
        assert run.info().payload_schemas["answered"] == json_schema(Answer)
        with pytest.raises(CodecError, match='amount: "much" does not fit: give a whole number'):
            other.get("a").check_event("answered", UNFIT)
        assert "amount" in other.publish(["a"], "answered", UNFIT).skipped["a"]
        other.get("a").publish("answered", UNFIT)  # a program is not refused
    engine.run_until_idle()
    assert run.status() == "failed"
    run.redrive()
    engine.run_until_idle()
    assert run.info().payload_schemas["answered"] == json_schema(Answer)


def test_a_new_type_of_the_payload_is_stored_with_waits_that_are_there(engine, store, clock):
    flow = (
        named("kind.v1", dict[str, int]).wait_event("answer", "answered", int, lambda _order, _answer: None).compile()
    )
    engine.register(flow)
    engine.start(flow, {"n": 1}, id="a")
    engine.run_until_idle()
    engine.close()
    newer = (
        named("kind.v1", dict[str, int]).wait_event("answer", "answered", str, lambda _order, _answer: None).compile()
    )
    with Engine(store, clock=clock) as other, Engine(store, clock=clock) as publisher:
        with pytest.raises(CodecError):
            publisher.get("a").check_event("answered", "x")
        other.register(newer)
        other.run_until_idle()
        publisher.get("a").check_event("answered", "x")
        rev = publisher.get("a").info().rev
        other.run_until_idle()
        assert publisher.get("a").info().rev == rev


@attrs.define
class Picky:
    number: int

    def __attrs_post_init__(self) -> None:
        if self.number > 5:
            raise ValueError("too much")


def test_the_error_of_a_bad_payload_has_no_frames_but_those_of_its_class(engine):
    """The frames of the library tell nothing: the message has the value and the type."""
    flow = (
        named("picky.v1", dict[str, int])
        .wait_event("answer", "answered", Picky, lambda _order, _answer: None)
        .compile()
    )
    engine.register(flow)
    for run_id, payload in (("a", {"number": "x"}), ("b", {"number": 7})):
        engine.start(flow, {"n": 1}, id=run_id).publish("answered", payload)
    engine.run_until_idle()
    error = engine.get("a").info().error
    assert error.traceback == ""
    assert "does not fit Picky: expected int, found 'x' @ $.number" in error.message
    assert 'raise ValueError("too much")' in engine.get("b").info().error.traceback
