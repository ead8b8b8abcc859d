"""Steps that are made at most once: a call that was interrupted is never repeated, and blocks its run until it is resolved."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from stepflow import (
    AsyncContext,
    Context,
    Engine,
    NotFound,
    RetryPolicy,
    RunFailed,
    Status,
    StepflowError,
    Steps,
    named,
    workflow,
)
from stepflow.drivers.port.store import Driver
from stepflow.testing import VirtualClock
from tests.engine.flows import Broken, Order

Pay = Callable[[], int]


class Calls:
    """A payment: the first call is interrupted, or raises."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.made, self.error, self.after, self.seen = 0, error, 0, list[str]()

    def pay(self) -> int:
        self.made += 1
        if self.error is not None and self.made == 1:
            raise self.error
        return 7

    async def apay(self) -> int:
        return self.pay()

    def then(self) -> None:
        self.after += 1


def flow_of(style: str, calls: Calls) -> Any:
    """A flow of each style with a payment that is made at most once."""
    if style in ("chain", "achain"):
        pay = calls.pay if style == "chain" else calls.apay
        return (
            named("f", Order)
            .do("first", lambda: None)
            .do("pay", pay, at_most_once=True)
            .do("then", calls.then)
            .compile()
        )
    if style == "workflow":

        @workflow("f")
        def sync(wf: Context, order: Order) -> int:
            try:
                value = wf.execute("pay", calls.pay, at_most_once=True)
            except Exception as error:
                calls.seen.append(str(error))
                raise
            wf.execute("then", calls.then)
            return value

        return sync

    @workflow("f")
    async def asynchronous(wf: AsyncContext, order: Order) -> int:
        try:
            value = await wf.execute("pay", calls.apay, at_most_once=True)
        except Exception as error:
            calls.seen.append(str(error))
            raise
        await wf.execute("then", calls.then)
        return value

    return asynchronous


STYLES = ["chain", "achain", "workflow", "aworkflow"]


@pytest.fixture
def engine(store: Driver, clock: VirtualClock) -> Iterator[Engine]:
    with Engine(store, clock=clock) as engine:
        yield engine


def interrupted(engine: Engine, style: str) -> tuple[Calls, Any]:
    """A run that is blocked, as its payment was interrupted."""
    calls = Calls(KeyboardInterrupt())
    flow = flow_of(style, calls)
    engine.register(flow)
    run = engine.start(flow, Order(), id="one")
    with pytest.raises(KeyboardInterrupt):
        engine.run_until_idle()
    assert engine.run_until_idle(advance=True).blocked == 1
    info = run.info()
    assert (calls.made, info.status, info.blocked.kind) == (1, Status.BLOCKED, "unknown_outcome")
    assert "the outcome of step 'pay' is unknown" in info.blocked.text
    return calls, run


@pytest.mark.parametrize("style", STYLES)
def test_an_interrupted_call_blocks_the_run_and_nothing_but_a_resolution_or_a_cancel_lifts_that(engine, style, clock):
    calls, run = interrupted(engine, style)
    assert "stepflow resolve 'one'" in run.explain()
    with pytest.raises(StepflowError, match=r"cannot be redriven: the outcome of step 'pay' is unknown"):
        run.redrive()
    run.publish("paid", 1)
    clock.advance(1e6)
    engine.register(flow_of(style, calls))
    engine.run_until_idle()
    assert (calls.made, run.status()) == (1, Status.BLOCKED)
    run.cancel()
    engine.run_until_idle()
    assert (calls.made, calls.after, run.status()) == (1, 0, Status.CANCELLED)


@pytest.mark.parametrize("style", STYLES)
def test_a_rewind_does_not_make_the_call_again_before_its_outcome_is_known(engine, style):
    calls, run = interrupted(engine, style)
    for go_back in (
        lambda: run.rewind(rev=run.history()[-1].rev),
        lambda: run.rewind(rev=run.history()[0].rev),
        lambda: run.rewind(step="first" if "chain" in style else "pay"),
    ):
        with pytest.raises(StepflowError, match=r"cannot be rewound: the outcome of step '(f/)?pay' is unknown"):
            go_back()
    for dry_run in (True, False):
        affected = engine.rewind(["one"], "first" if "chain" in style else "pay", dry_run=dry_run)
        assert (affected.count, list(affected.skipped)) == (0, ["one"])
    engine.run_until_idle()
    assert (calls.made, run.status()) == (1, Status.BLOCKED)
    run.resolve("pay", None if "chain" in style else 7)
    engine.run_until_idle()
    assert (calls.made, run.status()) == (1, Status.COMPLETED)
    run.rewind(step="pay" if "chain" in style else "then")
    engine.run_until_idle()
    assert (calls.made, run.status()) == (2 if "chain" in style else 1, Status.COMPLETED)


@pytest.mark.parametrize("style", STYLES)
def test_resolve_says_what_the_call_returned(engine, style):
    calls, run = interrupted(engine, style)
    chain = "chain" in style
    run.resolve("pay", Order(log=["by hand"]) if chain else 9)
    with pytest.raises(StepflowError, match="resolved already"):
        run.resolve("pay")
    engine.run_until_idle()
    result = run.result()
    assert (calls.made, calls.after, result.log if chain else result) == (1, 1, ["by hand"] if chain else 9)
    with pytest.raises(StepflowError, match="no call of unknown outcome"):
        run.resolve("pay")


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("error", ["the bank says no", Broken("no")])
def test_resolve_failed_is_the_failure_of_the_step(engine, style, error):
    calls, run = interrupted(engine, style)
    run.resolve_failed("pay", error)
    engine.run_until_idle()
    assert (calls.made, calls.after, run.status()) == (1, 0, Status.FAILED)
    with pytest.raises(RunFailed, match="the bank says no" if isinstance(error, str) else "Broken: no"):
        run.result()
    run.redrive()  # its outcome is known: another call may be made
    engine.run_until_idle()
    assert (calls.made, calls.after, run.status()) == (2, 1, Status.COMPLETED)


@pytest.mark.parametrize("style", STYLES)
def test_a_wrong_step_and_a_value_that_does_not_fit_leave_the_run_blocked(engine, style):
    calls, run = interrupted(engine, style)
    with pytest.raises(NotFound, match="the outcome of 'pay' is unknown, not that of 'other'"):
        run.resolve("other")
    run.resolve("f/pay" if "chain" in style else "pay", "no such value")
    engine.run_until_idle()
    info = run.info()
    assert (calls.made, info.status, info.blocked.kind) == (1, Status.BLOCKED, "unknown_outcome")
    assert "a value that does not fit" in info.blocked.text
    run.resolve("pay", None if "chain" in style else 1)
    engine.run_until_idle()
    assert (calls.made, run.status()) == (1, Status.COMPLETED)


@pytest.mark.parametrize("style", STYLES)
def test_an_exception_is_a_known_outcome(engine, style):
    calls = Calls(Broken("declined"))
    flow = flow_of(style, calls)
    engine.register(flow)
    run = engine.start(flow, Order(), id="one")
    engine.run_until_idle()
    assert (calls.made, run.status()) == (1, Status.FAILED)
    run.redrive()
    engine.run_until_idle()
    assert (calls.made, run.status()) == (2, Status.COMPLETED)


def test_a_group_that_goes_back_makes_a_new_intent(engine):
    calls = Calls(Broken("declined"))
    inner = Steps(Order).do("pay", calls.pay, at_most_once=True)
    flow = named("f", Order).retry("r", RetryPolicy(delay=0, max_attempts=3), inner).compile()
    engine.register(flow)
    run = engine.start(flow, Order(), id="one")
    assert engine.run_until_idle().completed == 1
    assert (calls.made, run.status()) == (2, Status.COMPLETED)


@pytest.mark.parametrize("style", STYLES)
def test_a_time_limit_makes_the_outcome_unknown(engine, clock, style):
    made: list[int] = []

    def slow() -> int:
        made.append(1)
        clock.advance(20)
        return 1

    async def aslow() -> int:
        return slow()

    if "chain" in style:
        flow: Any = (
            named("f", Order).do("pay", slow if style == "chain" else aslow, timeout=5, at_most_once=True).compile()
        )
    elif style == "workflow":

        @workflow("f")
        def flow(wf: Context, order: Order) -> int:
            return wf.execute("pay", slow, timeout=5, at_most_once=True)
    else:

        @workflow("f")
        async def flow(wf: AsyncContext, order: Order) -> int:
            return await wf.execute("pay", aslow, timeout=5, at_most_once=True)

    engine.register(flow)
    run = engine.start(flow, Order(), id="one")
    engine.run_until_idle()
    info = run.info()
    assert (len(made), info.status, info.blocked.kind) == (1, Status.BLOCKED, "unknown_outcome")
    assert "did not end within 5 s" in info.blocked.text
    run.resolve("pay", None if "chain" in style else 1)
    engine.run_until_idle()
    assert (len(made), run.status()) == (1, Status.COMPLETED)


@pytest.mark.parametrize("left", ["no value", "another exchange"])
@pytest.mark.parametrize("style", [*STYLES, "gather"])
def test_a_call_that_returned_what_cannot_be_stored_is_not_made_again(engine, style, left):
    made: list[int] = []
    policy = RetryPolicy(max_attempts=5, delay=1)

    def pay(order: Order | None = None) -> Any:
        made.append(1)
        if order is None:
            return {1, 2} if left == "no value" else object()
        if left == "another exchange":
            return Order()
        order.log.append(object())  # type: ignore[arg-type]
        return None

    async def apay(order: Order | None = None) -> Any:
        return pay(order)

    if "chain" in style:

        def take(order: Order) -> Any:
            return pay(order)

        async def atake(order: Order) -> Any:
            return pay(order)

        chain = named("f", Order).do("pay", take if style == "chain" else atake, at_most_once=True)
        flow: Any = chain.compile(retry=policy)
    elif style == "workflow":

        @workflow("f", retry=policy)
        def flow(wf: Context, order: Order) -> int:
            return wf.execute("pay", pay, at_most_once=True)
    else:

        @workflow("f", retry=policy)
        async def flow(wf: AsyncContext, order: Order) -> int:
            call = wf.execute("pay", apay, at_most_once=True)
            if style == "gather":
                ((value, _),) = (await wf.gather(call, wf.sleep("s", 0)),)
                return value
            return await call

    engine.register(flow)
    run = engine.start(flow, Order(), id="one")
    engine.run_until_idle(advance=True)
    info = run.info()
    assert (len(made), info.status, info.blocked.kind) == (1, Status.BLOCKED, "unknown_outcome")
    assert "it returned, but what it returned cannot be stored" in info.blocked.text
    run.resolve("pay", None if "chain" in style else 7)
    assert engine.run_until_idle(advance=True).completed == 1
    assert len(made) == 1


def test_retry_together_with_at_most_once_is_a_mistake(engine):
    @workflow("f")
    def flow(wf: Context, order: Order) -> int:
        return wf.execute("pay", int, retry=RetryPolicy(), at_most_once=True)

    engine.register(flow)
    run = engine.start(flow, Order(), id="one")
    engine.run_until_idle()
    assert "retry= repeats a call, at_most_once=True forbids that" in run.info().blocked.text


def test_at_most_once_is_true_or_false():
    with pytest.raises(StepflowError, match="at_most_once='yes': give True or False"):
        named("f", Order).do("pay", lambda: None, at_most_once="yes").compile()
    with pytest.raises(StepflowError, match="transaction=True and at_most_once=True: give one"):
        named("f", Order).do("pay", lambda connection: None, transaction=True, at_most_once=True).compile()


def test_two_interrupted_calls_of_a_gather_are_resolved_one_after_the_other(engine, clock):
    made: list[str] = []

    async def slow(name: str) -> int:
        made.append(name)
        clock.advance(20)
        return 1

    @workflow("f")
    async def flow(wf: AsyncContext, order: Order) -> int:
        calls = [wf.execute(key, slow, key, timeout=5, at_most_once=True) for key in ("a", "b")]
        return sum(await wf.gather(*calls))

    engine.register(flow)
    run = engine.start(flow, Order(), id="one")
    engine.run_until_idle()
    while run.status() is Status.BLOCKED:
        (key,) = [key for key in "ab" if f"'{key}'" in run.info().blocked.text.split(":")[0]]
        run.resolve(key, 3)
        engine.run_until_idle()
    assert (run.result(), sorted(made)) == (6, ["a", "b"])
