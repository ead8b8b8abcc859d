"""Recovery of States that a closed or dead engine left behind: workers claim them, unless recovery is disabled."""

from __future__ import annotations

import pytest

from stepflow import (
    AsyncEngine,
    Engine,
    Execute,
    StateCtx,
    Status,
    Unavailable,
    commit,
    flow,
    park,
    transit,
)
from stepflow.testing.conformance.cases.kit import on_loop
from tests.flows.simple import parking

ENABLED = "flowstate.recovery.enabled"


def test_a_closed_engine_releases_its_states(store, clock, calls):
    with Engine(store, clock=clock) as client:
        client.do(
            commit(transit(StateCtx("a"), "aFlow")), commit(transit(StateCtx("b", {}, {ENABLED: "false"}), "aFlow"))
        )
    with Engine(store, clock=clock) as worker:
        worker.register(parking(calls))
        worker.run_until_idle()
    assert calls == {"a": 1}


@on_loop
async def test_background_executions_end_with_their_engine(store, track, caplog):
    @flow("waits")
    async def waits(ctx, engine):
        track(ctx)
        await engine.watch({"never": "committed"}).next()

    @flow("blocks")
    def blocks(ctx, engine):
        track(ctx)
        for _ in engine.watch({"never": "committed"}):
            pass

    async with AsyncEngine(store) as engine:
        engine.register(waits, blocks)
        for name in ("waits", "blocks"):
            ctx = StateCtx(name)
            await engine.do(commit(transit(ctx, name)), Execute(ctx))
        async with engine.worker():
            await engine.start(waits, id="claimed")
            await track.until(3)
    assert "failed" not in caplog.text
    async with AsyncEngine(store) as engine:
        for name in ("waits", "blocks", "claimed"):
            assert await engine.get(name).status() is Status.QUEUED


def test_a_state_that_a_function_moved_and_did_not_execute_is_released_at_once(engine, calls):
    @flow("parent")
    def parent(ctx):
        return commit(park(ctx), transit(StateCtx("child"), "aFlow"))

    engine.register(parent, parking(calls))
    engine.start(parent)
    engine.run_until_idle()
    assert calls == {"child": 1}


def test_a_state_whose_release_the_store_refused_is_released_later(engine, clock, calls, monkeypatch):
    store = engine._engine._session.store
    refusals, release = [Unavailable("the store is away")], store.release

    def refused_once(batch, now):
        if refusals:
            raise refusals.pop()
        return release(batch, now)

    monkeypatch.setattr(store, "release", refused_once)
    engine.register(parking(calls))
    engine.do(commit(transit(StateCtx("a"), "aFlow")))
    clock.advance(121)  # no execution took it in time
    with pytest.raises(Unavailable):
        engine.run_until_idle()
    engine.run_until_idle()
    assert calls == {"a": 1}
