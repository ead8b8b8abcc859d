"""once() in flow functions where it cannot record: what it says, and what becomes of the run."""

from __future__ import annotations

from typing import Any

import pytest

from stepflow import (
    Command,
    Engine,
    FlowEngine,
    Noop,
    StateCtx,
    Status,
    StepflowError,
    commit,
    current,
    delay,
    flow,
    park,
    transit,
)
from stepflow.drivers.port.commit import Owner
from tests.flows.book import AGAIN, Book, Broken, keys


def refused(book: Book, key: str = "k") -> None:
    try:
        current().once(key, book.receipt, 1)
    except StepflowError as error:
        book.errors.append(str(error))


def test_an_execution_without_a_claim_cannot_record(store, clock, book):
    @flow("f")
    def f(ctx: StateCtx, engine: FlowEngine) -> Command:
        refused(book)
        engine.do(commit(park(ctx)))
        refused(book)
        return Noop()

    @flow("late")
    def late(ctx: StateCtx) -> Command:
        refused(book)
        return Noop()

    with Engine(store, clock=clock) as engine:
        engine.register(f, late)
        state = StateCtx("one")
        engine.do(transit(state, "f"))
        engine.execute(state)  # nothing of it is committed yet
        engine.do(delay(state, "late", 1, commit=False))
        engine.run_until_idle(advance=True)
    assert len(book.errors) == 3
    assert all("this execution does not hold State 'one'" in error for error in book.errors)
    assert book.calls == []


def test_the_same_key_twice_and_another_thread_are_refused(store, clock, book):
    kept: list[Any] = []

    @flow("f")
    def f(ctx: StateCtx) -> Command:
        kept.append(current())
        book.once("k", 1)
        refused(book)
        return commit(park(ctx))

    with Engine(store, clock=clock) as engine:
        engine.register(f)
        engine.start(f, id="one")
        engine.run_until_idle()
        with pytest.raises(StepflowError, match="outside of its step"):
            kept[0].once("k", book.receipt, 1)
    assert "this attempt of the step has used the key already" in book.errors[0]
    assert book.calls == [1]


def test_another_function_under_a_key_blocks_the_run(store, clock, book):
    fail = [True]

    def other(number: int) -> int:
        return number

    @flow("f", retry=AGAIN)
    def f(ctx: StateCtx) -> Command:
        current().once("pay", book.receipt if fail else other, 1)
        if fail:
            raise Broken
        return commit(park(ctx))

    with Engine(store, clock=clock) as engine:
        engine.register(f)
        run = engine.start(f, id="one")
        engine.run_until_idle()
        fail.clear()
        clock.advance(1)
        engine.run_until_idle()
        assert run.status() is Status.BLOCKED
        assert "has the value of 'Book.receipt'" in str(run.info().blocked)
        fail.append(True)
        run.redrive()
        engine.run_until_idle()
        assert run.status() is Status.SLEEPING
    assert book.calls == [1]


def test_a_function_that_lost_its_claim_cannot_record(store, clock, book):
    thief = store.connect("", Owner("thief", "host", 1), 0)

    @flow("f", retry=AGAIN)
    def f(ctx: StateCtx) -> Command:
        me = next(peer.owner.id for peer in thief.beat(clock.now()).peers)
        thief.beat(clock.now(), [me])
        current().once("k", book.receipt, 1)
        return commit(park(ctx))

    with Engine(store, clock=clock) as engine:
        engine.register(f)
        run = engine.start(f, id="one")
        engine.run_until_idle()
        assert run.status() is Status.FAILED  # its owner died again and again
    thief.close()
    assert keys(store, "one") == []
