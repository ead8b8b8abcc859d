"""Deploys: positions and stored fields that a definition lacks block the run; nothing is lost."""

from __future__ import annotations

import sqlite3
from datetime import timedelta
from typing import Any

import attrs
import pytest

from stepflow import CodecError, Engine, RunFailed, Status, Steps, named
from tests.engine.flows import Order, note


@attrs.define
class Wider:
    """Order in a newer version."""

    amount: int = 1
    log: list[str] = attrs.field(factory=list)
    express: bool = False


def old_flow() -> Any:
    return named("x", Order).do("pack", note("pack")).do("gate", Gate()).do("ship", note("ship")).compile()


class Gate:
    """A step that fails once, so that a run stops at a known place."""

    def __init__(self) -> None:
        self.closed = True

    def __call__(self, _order: Order) -> None:
        if self.closed:
            self.closed = False
            raise ValueError("closed")


def stopped(engine: Engine, flow: Any, exchange: Any = None) -> Any:
    """A run that is due at the step after `pack`, without an owner."""
    engine.register(flow)
    run = engine.start(flow, exchange or Order(), id="one")
    engine.run_until_idle()
    run.redrive()
    return run


def renamed_flow() -> Any:
    return named("x", Order).do("packed", note("packed")).do("ship", note("ship")).compile()


def test_an_unknown_position_is_blocked_with_the_nearest_name(store, clock):
    with Engine(store, clock=clock) as engine:
        stopped(engine, old_flow())
    with Engine(store, clock=clock) as engine:
        engine.register(renamed_flow())
        assert engine.run_until_idle().failed == 0
        run = engine.get("one")
        info = run.info()
        assert info.status is Status.BLOCKED
        assert "'completed:x/pack' is not a position of x; the most similar known one is 'completed:x/packed'" in str(
            info.blocked
        )
        assert "; it goes on when a definition without this fault is deployed; next try 20" in run.explain()
        assert info.due == clock.datetime() + timedelta(seconds=30)
        clock.advance(60)
        assert engine.run_until_idle().completed == 0  # not asked again by the same definition
        assert run.status() is Status.BLOCKED
    with Engine(store, clock=clock) as engine:
        engine.register(old_flow())  # a worker that knows it goes on
        assert engine.run_until_idle(advance=True).failed == 1  # its gate is closed again
        assert engine.get("one").info().position == ["completed:x/pack"]


def test_a_definition_that_knows_the_position_continues(store, clock):
    newer = named("x", Order).do("pack", note("pack")).do("label", note("label")).do("ship", note("ship")).compile()
    with Engine(store, clock=clock) as engine:
        stopped(engine, old_flow())
    with Engine(store, clock=clock) as engine:
        engine.register(newer)
        assert engine.run_until_idle().completed == 1
        assert engine.get(newer, "one").result().log == ["pack", "label", "ship"]


def test_an_unknown_stored_field_is_blocked_and_kept(store, clock):
    def wide(order: Wider) -> None:
        order.log.append(f"express {order.express}")

    newer: Any = named("x", Wider).do("pack", wide).do("gate", Gate()).do("ship", wide).compile()
    with Engine(store, clock=clock) as engine:
        stopped(engine, newer, Wider(express=True))
    with Engine(store, clock=clock) as engine:
        engine.register(old_flow())  # the same steps, an older exchange
        engine.run_until_idle()
        info = engine.get("one").info()
        assert info.status is Status.BLOCKED
        assert "express" in str(info.blocked)
        assert "Order" in str(info.blocked)
        with pytest.raises(CodecError, match="express"):
            engine.get(old_flow(), "one").exchange()
        assert engine.get("one").exchange()["express"] is True
    with Engine(store, clock=clock) as engine:
        engine.register(newer)
        assert engine.run_until_idle(advance=True).completed == 1
        assert engine.get(newer, "one").result() == Wider(1, ["express True", "express True"], True)


def test_two_workers_of_two_versions_sort_it_out(store, clock):
    newer: Any = named("x", Wider).do("pack", note("pack")).do("ship", note("ship")).compile()
    older = named("x", Order).do("pack", note("pack")).do("ship", note("ship")).compile()
    with Engine(store, clock=clock) as old, Engine(store, clock=clock) as new:
        old.register(older)
        new.register(newer)
        new.start(newer, Wider(express=True), id="one")
        old.run_until_idle()
        assert new.get("one").status() is Status.BLOCKED
        clock.advance(30)
        assert old.run_until_idle().completed == 0
        assert new.run_until_idle().completed == 1
        assert new.get(newer, "one").result() == Wider(1, ["pack", "ship"], True)


def test_a_missing_field_without_a_default_blocks_and_upgrade_helps(store, clock):
    @attrs.define
    class Strict:
        total: int
        log: list[str]

    def upgrade(raw: dict[str, Any]) -> dict[str, Any]:
        if "amount" in raw:
            raw["total"] = raw.pop("amount")
        return raw

    def build(**options: Any) -> Any:
        chain: Any = named("x", Strict).do("pack", note("pack")).do("ship", note("ship"))
        return chain.compile(**options)

    with Engine(store, clock=clock) as engine:
        stopped(engine, old_flow(), Order(7))
    with Engine(store, clock=clock) as engine:
        engine.register(build())
        engine.run_until_idle()
        assert "Strict" in str(engine.get("one").info().blocked)
    with Engine(store, clock=clock) as engine:
        flow = build(upgrade=upgrade)
        engine.register(flow)
        clock.advance(30)
        assert engine.run_until_idle().completed == 1
        assert engine.get(flow, "one").result() == Strict(7, ["pack", "ship"])
        assert engine.get("one").exchange() == {"total": 7, "log": ["pack", "ship"]}


def test_an_upgrade_that_raises_blocks_with_its_error(store, clock):
    def upgrade(raw: dict[str, Any]) -> dict[str, Any]:
        raise KeyError("no such version")

    with Engine(store, clock=clock) as engine:
        stopped(engine, old_flow())
    with Engine(store, clock=clock) as engine:
        flow = named("x", Order).do("pack", note("p")).do("gate", note("g")).do("ship", note("s"))
        engine.register(flow.compile(upgrade=upgrade))
        engine.run_until_idle()
        assert "no such version" in str(engine.get("one").info().blocked)


def taxed(**options: Any) -> Any:
    strict = attrs.make_class("Strict", {"amount": attrs.field(type=int), "tax": attrs.field(type=int, **options)})
    return named("x", strict).do("pack", lambda: None).compile()


def untaxed(store: Any, clock: Any) -> None:
    """Create a run whose stored exchange lacks the field `tax`."""
    plain = attrs.make_class("Plain", {"amount": attrs.field(type=int)})
    with Engine(store, clock=clock) as engine:
        engine.start(named("x", plain).do("pack", lambda: None).compile(), plain(5), id="one")


def test_a_new_default_is_another_definition(store, clock):
    untaxed(store, clock)
    with Engine(store, clock=clock) as engine:
        engine.register(taxed())
        engine.run_until_idle()
        assert engine.get("one").status() is Status.BLOCKED
    with Engine(store, clock=clock) as engine:
        engine.register(taxed(default=0))
        assert engine.run_until_idle(advance=True).completed == 1


def test_after_a_redrive_the_same_definition_retries_at_once(store, clock):
    untaxed(store, clock)
    with Engine(store, clock=clock) as engine:
        engine.register(taxed())
        engine.run_until_idle()
        run = engine.get("one")
        position, revisions = run.info().position, len(run.history())
        run.redrive()
        assert (run.status(), run.info().blocked, run.info().position) == (Status.QUEUED, None, position)
        engine.run_until_idle()
        assert run.status() is Status.BLOCKED
        assert len(run.history()) == revisions + 1


def test_a_blocked_run_can_be_cancelled(store, clock):
    with Engine(store, clock=clock) as engine:
        stopped(engine, old_flow())
    with Engine(store, clock=clock) as engine:
        engine.register(renamed_flow())
        engine.run_until_idle()
        run = engine.get("one")
        run.cancel()
        assert run.status() is Status.CANCELLED
        assert engine.run_until_idle(advance=True).next_due is None


def test_a_stored_exchange_that_is_not_json_blocks_only_its_run(sqlite, clock):
    flow = old_flow()
    with Engine(sqlite, clock=clock) as engine:
        engine.register(flow)
        for name in ("bad", "good"):
            engine.start(flow, Order(), id=name)
        database = sqlite3.connect(sqlite.path)
        database.execute("UPDATE stepflow_history SET exchange = '{\"amount\":' WHERE id = 'bad'")
        database.commit()
        database.close()
        engine.run_until_idle()
        assert engine.get("bad").status() is Status.BLOCKED
        assert "the stored value does not fit Order" in str(engine.get("bad").info().blocked)
        assert engine.get("good").status() is Status.FAILED


def test_the_same_name_with_another_definition_is_refused_in_one_engine(engine):
    engine.register(old_flow())
    engine.register(old_flow())
    with pytest.raises(Exception, match="another flow 'x' is registered: give the new one another name"):
        engine.register(renamed_flow())


def test_a_failed_step_is_not_blocked(engine):
    flow = named("x", Order).steps("s", Steps(Order).do("gate", Gate())).compile()
    engine.register(flow)
    run = engine.start(flow, Order())
    engine.run_until_idle()
    with pytest.raises(RunFailed, match="closed"):
        run.result()
