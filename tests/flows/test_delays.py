"""What a delayed function sees, what its failure leaves behind, and delays that meet the work of workers."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from stepflow import (
    StateCtx,
    StepflowError,
    commit,
    delay,
    flow,
    park,
    transit,
)

START = datetime(2000, 1, 1, tzinfo=UTC)


def test_a_delay_to_come_counts_as_waiting(engine):
    @flow("later")
    def later(ctx):
        return park(ctx)

    engine.register(later)
    engine.do(delay(StateCtx("s1"), "later", 60, commit=False))
    idle = engine.run_until_idle()
    assert (idle.waiting, idle.next_due) == (1, START + timedelta(seconds=60))
    assert engine.run_until_idle(advance=True).waiting == 0


def test_a_delay_whose_function_raises_without_commit_is_not_repeated(engine, caplog):
    calls = Counter()

    @flow("broken")
    def broken(ctx):
        calls["broken"] += 1
        raise ValueError("no")

    engine.register(broken)
    engine.do(delay(StateCtx("s1"), "broken", 1, commit=False))
    engine.run_until_idle(advance=True)
    assert calls["broken"] == 1
    assert "a delay of State s1" in caplog.text


def test_what_the_delayed_function_sees(engine):
    seen = []

    @flow("later")
    def later(ctx):
        seen.append((ctx.id, ctx.rev > 0, ctx.annotation("k"), ctx.labels, ctx.transition.annotations["reason"]))
        seen.append(ctx.delayed_until)
        return park(ctx)

    engine.register(later)
    until = datetime(2000, 1, 1, 0, 0, 1, 5, tzinfo=UTC)
    engine.do(delay(StateCtx("s", {"l": "1"}, {"k": "v"}), "later", until, reason="timeout"))
    engine.run_until_idle(advance=True)
    assert seen == [("s", True, "v", {"l": "1"}, "timeout"), until]


def test_a_pending_delay_keeps_its_state_from_the_workers(engine, clock):
    calls = []

    @flow("work")
    def work(ctx):
        calls.append("delayed" if ctx.delayed_until else "at once")
        return commit(park(ctx))

    engine.register(work)
    ctx = StateCtx("s")
    engine.do(commit(transit(ctx, "work")), delay(ctx, "work", 600))
    clock.advance(300)
    engine.run_until_idle()
    assert calls == []
    engine.run_until_idle(advance=True)
    assert calls == ["delayed"]


def test_an_execution_that_is_done_in_time_makes_its_timeout_void(engine):
    calls = []

    @flow("work")
    def work(ctx):
        calls.append("timeout" if ctx.delayed_until else "work")
        return commit(park(ctx))

    engine.register(work)
    ctx = StateCtx("s")
    engine.do(commit(transit(ctx, "work"), delay(ctx, "work", 10)))
    engine.execute(ctx)
    engine.run_until_idle(advance=True)
    assert calls == ["work"]


@pytest.mark.parametrize("when", [None, "soon", float("nan"), float("inf"), True, datetime(2000, 1, 1)])  # noqa: DTZ001
def test_a_malformed_time_is_refused(engine, when):
    with pytest.raises(StepflowError, match="delay until"):
        engine.do(delay(StateCtx("s"), "later", when))


def test_a_kept_state_that_is_moved_together_with_a_delay_stays_kept(engine, clock):
    calls = Counter()

    def counted(name):
        @flow(name)
        def function(ctx):
            calls[name] += 1
            return park(ctx)

        return function

    engine.register(counted("first"), counted("second"), counted("later"))
    ctx = StateCtx("s1")
    engine.do(commit(transit(ctx, "first")))
    engine.do(commit(transit(ctx, "second"), delay(ctx, "later", 3600, commit=False)))
    clock.advance(121)  # no execution took it: any worker may
    engine.run_until_idle()
    assert calls == {"second": 1}


def test_a_delay_without_commit_to_a_flow_elsewhere_is_not_tried_without_a_pause(engine, clock):
    calls = []

    @flow("here")
    def here(ctx):
        calls.append(ctx.id)
        if len(calls) > 5:
            raise AssertionError("it is called again and again")
        return transit(ctx, "elsewhere")

    @flow("elsewhere")
    def elsewhere(ctx):
        return park(ctx)

    engine.register(here)
    engine.do(delay(StateCtx("a"), "here", timedelta(0), commit=False))
    engine.run_until_idle()
    assert calls == ["a"]
    engine.register(elsewhere)
    clock.advance(2)
    engine.run_until_idle()
    assert calls == ["a", "a"]
    assert engine.run_until_idle().next_due is None
