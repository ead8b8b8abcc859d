"""The redrive of a failed parent: children that were cancelled with it begin anew, all others stay as they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from stepflow import AsyncContext, Cancelled, Context, Engine, RunCancelled, RunFilter, named, workflow
from stepflow.drivers.port.store import Driver
from stepflow.engine.commit import canceller
from stepflow.engine.execution import workflow_attempt
from stepflow.testing import VirtualClock

BROKEN: set[str] = set()
DID: list[str] = []


def work(what: str) -> str:
    if what in BROKEN:
        raise ValueError(f"{what} is broken")
    DID.append(what)
    return what


@workflow("grandchild")
def grandchild(wf: Context, name: str) -> str:
    return wf.wait_for_event("e", "go", str)


@workflow("child")
def child(wf: Context, name: str) -> str:
    wf.execute("begin", work, f"begin {name}")
    if name == "quick":
        return name
    return f"{name} {wf.result('r', wf.start_child('g', grandchild, name))}"


def take(exchange: dict[str, str], payload: str) -> None:
    exchange["got"] = payload


chain = named("chain", dict[str, str]).wait_event("w", "go", str, take).compile()


@workflow("parent")
def parent(wf: Context) -> list[Any]:
    quick, slow = wf.start_child("quick", child, "quick"), wf.start_child("slow", child, "slow")
    stays = wf.start_child("stays", chain, {}, on_parent_end="leave")
    several = wf.start_children("several", chain, [{"n": str(n)} for n in range(3)])
    first = wf.result("first", quick)
    wf.execute("work", work, "work")
    return [first, wf.result("second", slow), wf.result("third", stays), *[one.value for one in wf.results("all", several)]]  # fmt: skip


@workflow("aparent")
async def aparent(wf: AsyncContext) -> list[Any]:
    quick, slow = await wf.start_child("quick", child, "quick"), await wf.start_child("slow", child, "slow")
    stays = await wf.start_child("stays", chain, {}, on_parent_end="leave")
    several = await wf.start_children("several", chain, [{"n": str(n)} for n in range(3)])
    first = await wf.result("first", quick)
    await wf.execute("work", work, "work")
    second, third = await wf.result("second", slow), await wf.result("third", stays)
    return [first, second, third, *[one.value for one in await wf.results("all", several)]]


@pytest.fixture
def engine(store: Driver, clock: VirtualClock) -> Iterator[Engine]:
    BROKEN.clear()
    DID.clear()
    with Engine(store, clock=clock) as engine:
        engine.register(parent, aparent, child, grandchild, chain)
        yield engine


def answer_all(engine: Engine) -> None:
    for one in engine.runs(status="waiting", limit=100):
        if one.waiting_for == "event:go":
            engine.get(one.id).publish("go", "x")
    engine.run_until_idle()


@pytest.mark.parametrize("flow", [parent, aparent], ids=lambda flow: flow.name)
@pytest.mark.parametrize("many", [False, True])
def test_children_that_were_cancelled_with_their_parent_begin_anew(
    engine: Engine, clock: VirtualClock, flow: Any, many: bool
) -> None:
    BROKEN.add("work")
    run = engine.start(flow, id="p")
    engine.run_until_idle()
    ends = {one.id: str(one.status) for one in engine.runs(limit=100)}
    assert ends.pop("p") == "failed"
    assert {"p/stays": ends.pop("p/stays"), "p/quick": ends.pop("p/quick")} == {
        "p/stays": "waiting",
        "p/quick": "completed",
    }
    assert set(ends.values()) == {"cancelled"}
    BROKEN.clear()
    clock.advance(60)
    if many:
        assert engine.redrive(RunFilter(status="failed")).ids == ["p"]
        assert engine.redrive(RunFilter(status="failed"), dry_run=False).count == 1
    else:
        run.redrive()
    engine.run_until_idle()
    answer_all(engine)
    assert run.result() == ["quick", "slow x", {"got": "x"}, *[{"n": str(n), "got": "x"} for n in range(3)]]
    assert (DID.count("begin quick"), DID.count("work")) == (1, 1)
    assert {str(one.status) for one in engine.runs(parent="p", limit=100)} == {"completed", "cancelled"}
    assert "redriven" in [entry.text for entry in run.timeline()]


def test_children_that_went_on_or_were_cancelled_before_stay(engine: Engine, clock: VirtualClock) -> None:
    @workflow("asks")
    def asks(wf: Context) -> Any:
        gone = wf.start_child("gone", chain, {})
        wf.wait_for_event("wait", "next", int)
        wf.execute("work", work, "work")
        return wf.result("r", gone)

    engine.register(asks)
    BROKEN.add("work")
    run = engine.start(asks, id="p")
    engine.run_until_idle()
    engine.get("p/gone").cancel()
    clock.advance(60)
    run.publish("next", 1)
    engine.run_until_idle()
    BROKEN.clear()
    clock.advance(60)
    run.redrive()
    engine.run_until_idle()
    assert run.info().error.message == "run 'p/gone' was cancelled"  # type: ignore[union-attr]
    assert [one.id for one in engine.runs(parent="p")] == ["p/gone"]


def test_the_next_redrive_begins_those_anew_that_the_last_one_began(engine: Engine, clock: VirtualClock) -> None:
    BROKEN.add("work")
    run = engine.start(parent, id="p")
    engine.run_until_idle()
    for _try in range(2):
        clock.advance(60)
        run.redrive()
        engine.run_until_idle()
        assert run.status() == "failed"
    BROKEN.clear()
    clock.advance(60)
    run.redrive()
    engine.run_until_idle()
    answer_all(engine)
    assert run.result()[:2] == ["quick", "slow x"]


def test_a_child_whose_cancel_the_workflow_caught_is_not_begun_anew(engine: Engine, clock: VirtualClock) -> None:
    @workflow("catches")
    def catches(wf: Context) -> str:
        gone = wf.start_child("gone", chain, {})
        wf.wait_for_event("wait", "next", int)
        try:
            wf.result("r", gone)
        except RunCancelled:
            wf.execute("work", work, "work")
        return "caught"

    engine.register(catches)
    BROKEN.add("work")
    run = engine.start(catches, id="p")
    engine.run_until_idle()
    engine.get("p/gone").cancel()
    clock.advance(60)
    run.publish("next", 1)
    engine.run_until_idle()
    BROKEN.clear()
    run.redrive()
    engine.run_until_idle()
    assert run.result() == "caught"
    assert [one.id for one in engine.runs(parent="p")] == ["p/gone"]


def test_a_child_that_still_undoes_what_it_did_begins_anew(engine: Engine) -> None:
    @workflow("undoing")
    def undoing(wf: Context) -> str:
        try:
            return wf.wait_for_event("e", "go", str)
        except Cancelled:
            wf.sleep("pause", 60)
            wf.execute("undo", work, "undo")
            raise

    @workflow("asks")
    def asks(wf: Context) -> str:
        kid = wf.start_child("kid", undoing)
        wf.wait_for_event("wait", "next", int)
        wf.execute("work", work, "work")
        return wf.result("r", kid)

    engine.register(undoing, asks)
    BROKEN.add("work")
    run = engine.start(asks, id="p")
    engine.run_until_idle()
    run.publish("next", 1)
    engine.run_until_idle()
    assert (run.status(), engine.get("p/kid").status()) == ("failed", "sleeping")
    BROKEN.clear()
    run.redrive()
    engine.run_until_idle()
    answer_all(engine)
    assert (run.result(), engine.get("p/kid").status(), DID) == ("x", "sleeping", ["work"])
    engine.run_until_idle(advance=True)
    assert (engine.get("p/kid").status(), DID) == ("cancelled", ["work", "undo"])


@workflow("meets")
def meets(wf: Context) -> str:
    """Fails while several of its children are open."""
    gone, kid = wf.start_child("gone", chain, {}), wf.start_child("kid", chain, {})
    wf.wait_for_event("wait", "next", int)
    wf.execute("work", work, "work")
    results = wf.results("r", [gone, kid])
    return ", ".join("done" if one.ok else type(one.error).__name__ for one in results)


def test_a_child_that_was_cancelled_on_purpose_just_before_the_failure_stays_cancelled(engine: Engine) -> None:
    engine.register(meets)
    BROKEN.add("work")
    run = engine.start(meets, id="p")
    engine.run_until_idle()
    engine.get("p/gone").cancel()  # the clock stands still: the failure is of the same moment
    run.publish("next", 1)
    engine.run_until_idle()
    assert [str(engine.get(one).status()) for one in ("p", "p/gone", "p/kid")] == ["failed", "cancelled", "cancelled"]
    BROKEN.clear()
    run.redrive()
    engine.run_until_idle()
    answer_all(engine)
    assert run.result() == "RunCancelled, done"
    assert len(engine.runs(parent="p")) == 3


def test_children_of_a_failure_that_told_them_nothing_begin_anew(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflow_attempt, "TOLD", "1")  # as earlier versions noted it
    monkeypatch.setattr(canceller, "_requested", lambda _record: True)
    engine.register(meets)
    BROKEN.add("work")
    run = engine.start(meets, id="p")
    engine.run_until_idle()
    run.publish("next", 1)
    engine.run_until_idle()
    BROKEN.clear()
    run.redrive()
    engine.run_until_idle()
    answer_all(engine)
    assert run.result() == "done, done"


def test_the_events_that_tell_of_children_are_not_shown(engine: Engine) -> None:
    engine.register(meets)
    BROKEN.add("work")
    run = engine.start(meets, id="p")
    engine.run_until_idle()
    run.publish("next", 1)
    run.publish("other", 1)
    engine.run_until_idle()
    assert (run.info().unread, engine.get("p/kid").info().unread) == ({"other": 1}, {})
    BROKEN.clear()
    run.redrive()
    engine.run_until_idle()
    assert "stepflow." not in run.explain()
    answer_all(engine)
    assert (run.result(), run.info().unread) == ("done, done", {"other": 1})
