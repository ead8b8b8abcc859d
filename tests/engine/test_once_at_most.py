"""Calls of once() and aonce() that are made at most once: one that was interrupted is never repeated, and blocks its run until it is resolved."""

from __future__ import annotations

import pytest

from stepflow import (
    NotFound,
    RetryPolicy,
    RunFailed,
    Status,
    StepflowError,
    Steps,
    current,
    named,
)
from tests.engine.flows import Broken, Order
from tests.engine.intended import AGAIN, STYLES, Shop, begun, ended, flow_of, interrupted, step_of
from tests.flows.book import keys


@pytest.mark.parametrize("style", STYLES)
def test_the_call_is_made_and_its_value_is_kept(engine, style, store):
    shop = Shop()
    shop.late = [Broken("later")]
    run = begun(engine, style, step_of(style, shop), retry=AGAIN)
    engine.run_until_idle(advance=True)
    assert (shop.made, shop.found, shop.after, run.status()) == (1, [7, 7], 1, ended(style))
    assert keys(store, "one") == []


@pytest.mark.parametrize("style", STYLES)
def test_an_interrupted_call_blocks_the_run_and_nothing_but_a_resolution_or_a_cancel_lifts_that(engine, style, clock):
    shop, run = interrupted(engine, style)
    assert "stepflow resolve 'one'" in run.explain()
    for verb in (run.redrive, run.wake):
        with pytest.raises(StepflowError, match=r"the outcome of call 'pay' of '\w+' is unknown"):
            verb()
    with pytest.raises(StepflowError, match=r"cannot be rewound: the outcome of call 'pay' of '\w+' is unknown"):
        run.rewind(rev=run.history()[-1].rev)
    for dry_run in (True, False):
        assert engine.redrive(["one"], dry_run=dry_run).count == 0
    clock.advance(1e6)
    engine.register(flow_of(style, step_of(style, shop)))
    engine.run_until_idle()
    assert (shop.made, shop.began, run.status()) == (1, 1, Status.BLOCKED)
    run.cancel()
    engine.run_until_idle()
    assert (shop.made, shop.began, run.status()) == (1, 1, Status.CANCELLED)


@pytest.mark.parametrize("name", ["pay", "STEP:pay"])
@pytest.mark.parametrize("style", STYLES)
def test_resolve_says_what_the_call_returned(engine, style, name, store):
    shop, run = interrupted(engine, style)
    run.resolve(name.replace("STEP", "step" if "chain" in style else "f"), 9)
    with pytest.raises(StepflowError, match="resolved already"):
        run.resolve("pay", 8)
    engine.run_until_idle()
    assert (shop.made, shop.began, shop.found, shop.after, run.status()) == (1, 2, [9], 1, ended(style))
    with pytest.raises(StepflowError, match="no call of unknown outcome"):
        run.resolve("pay")
    assert keys(store, "one") == []


@pytest.mark.parametrize("style", STYLES)
def test_a_resolution_stays_while_the_step_is_tried_again(engine, style):
    shop, run = interrupted(engine, style, retry=AGAIN)
    shop.late = [Broken("one"), Broken("two")]
    run.resolve("pay", 9)
    engine.run_until_idle(advance=True)
    assert (shop.made, shop.found, run.status()) == (1, [9, 9, 9], ended(style))


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("error", ["the bank says no", Broken("no")])
def test_resolve_failed_is_what_the_call_raises_and_a_retry_may_make_it_again(engine, style, error):
    shop, run = interrupted(engine, style)
    run.resolve_failed("pay", error)
    engine.run_until_idle()
    assert (shop.made, shop.after, run.status()) == (1, 0, Status.FAILED)
    failure = run.info().error
    assert ("the bank says no" if isinstance(error, str) else "no") in failure.message
    if "chain" in style:
        with pytest.raises(RunFailed, match="the bank says no" if isinstance(error, str) else "Broken: no"):
            run.result()
    run.redrive()
    engine.run_until_idle()
    assert (shop.made, shop.found, run.status()) == (2, [7], ended(style))


@pytest.mark.parametrize("style", STYLES)
def test_a_wrong_key_and_a_value_that_does_not_fit_leave_the_run_blocked(engine, style):
    shop, run = interrupted(engine, style)
    for wrong in ("other", "before", "step" if "chain" in style else "f"):
        with pytest.raises(NotFound, match=f"the outcome of 'pay' is unknown, not that of '{wrong}'"):
            run.resolve(wrong)
    for value in ("no number", None):
        run.resolve("pay", value)
        engine.run_until_idle()
        info = run.info()
        assert (shop.made, info.status, info.blocked.kind) == (1, Status.BLOCKED, "unknown_outcome")
        assert "a value that does not fit" in info.blocked.text
    run.resolve("pay", 1)
    engine.run_until_idle()
    assert (shop.made, shop.found, run.status()) == (1, [1], ended(style))


@pytest.mark.parametrize("retry", ["run", "none"])
@pytest.mark.parametrize("style", STYLES)
def test_an_exception_is_a_known_outcome_and_the_next_attempt_calls_again(engine, style, retry):
    shop = Shop(Broken("declined"))
    run = begun(engine, style, step_of(style, shop), **({"retry": AGAIN} if retry == "run" else {}))
    engine.run_until_idle(advance=True)
    if retry == "none":
        assert (shop.made, run.status()) == (1, Status.FAILED)
        run.redrive()
        engine.run_until_idle(advance=True)
    assert (shop.made, shop.found, run.status()) == (2, [7], ended(style))


@pytest.mark.parametrize("style", STYLES)
def test_a_step_that_handles_the_exception_may_call_again(engine, style):
    shop = Shop(Broken("declined"))

    def step() -> None:
        for _ in range(2):
            try:
                shop.found.append(current().once("pay", shop.pay, 7, at_most_once=True))
            except Broken:
                continue

    async def astep() -> None:
        for _ in range(2):
            try:
                shop.found.append(await current().aonce("pay", shop.apay, 7, at_most_once=True))
            except Broken:
                continue

    run = begun(engine, style, astep if style.startswith("a") else step)
    engine.run_until_idle()
    assert (shop.made, shop.found, run.status()) == (2, [7], ended(style))


@pytest.mark.parametrize("style", STYLES)
def test_an_exit_of_the_call_is_a_known_outcome(engine, style):
    shop = Shop(SystemExit(3))
    run = begun(engine, style, step_of(style, shop))
    engine.run_until_idle()
    assert (shop.made, run.status()) == (1, Status.FAILED)


def test_a_group_that_goes_back_makes_a_new_intent(engine):
    shop = Shop(Broken("declined"))
    inner = Steps(Order).do("step", shop.step)
    made = named("f", Order).retry("r", RetryPolicy(delay=0, max_attempts=3), inner).compile()
    engine.register(made)
    run = engine.start(made, Order(), id="one")
    assert engine.run_until_idle().completed == 1
    assert (shop.made, shop.found, run.status()) == (2, [7], Status.COMPLETED)


def test_each_pass_of_a_loop_makes_its_call(engine):
    shop = Shop()
    inner = Steps(Order).do("step", shop.step)
    made = named("f", Order).loop_until("three", lambda: shop.made == 3, inner).compile()
    engine.register(made)
    engine.start(made, Order(), id="one")
    assert engine.run_until_idle().completed == 1
    assert shop.found == [7, 7, 7]
