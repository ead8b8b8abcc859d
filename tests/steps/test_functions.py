"""The arguments of user functions, and the distinction of sync and async ones."""

from __future__ import annotations

import asyncio
import functools
import inspect
from typing import Any

import pytest

from stepflow.errors import StepflowError
from stepflow.steps import Steps, named, signature
from stepflow.steps.machine import NeedsAwait
from tests.steps.helpers import Fail

EXCHANGE = {"x": 1}


class Client:
    def __init__(self) -> None:
        self.got: list[Any] = []

    def with_exchange(self, exchange: Any) -> None:
        self.got.append(exchange)

    def without(self) -> None:
        self.got.append("without")

    def everything(self, *args: Any) -> None:
        self.got.append(args)

    def optional(self, exchange: Any = "default") -> None:
        self.got.append(exchange)

    def positional_only(self, exchange: Any, /) -> None:
        self.got.append(exchange)

    def with_options(self, exchange: Any, limit: int = 3, *, loud: bool = False, **more: Any) -> None:
        self.got.append((exchange, limit, loud, more))

    def __call__(self, exchange: Any) -> None:
        self.got.append(exchange)

    async def awaited(self, exchange: Any) -> None:
        self.got.append(exchange)


def decorated(fn):
    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    return wrapper


@pytest.mark.parametrize(
    ("choose", "got"),
    [
        (lambda c: c.with_exchange, EXCHANGE),
        (lambda c: c.without, "without"),
        (lambda c: c.everything, (EXCHANGE,)),
        (lambda c: c.optional, "default"),
        (lambda c: c.positional_only, EXCHANGE),
        (lambda c: c.with_options, (EXCHANGE, 3, False, {})),
        (lambda c: c, EXCHANGE),
        (lambda c: functools.partial(c.with_exchange, "bound"), "bound"),
        (lambda c: functools.partial(c.with_options, limit=7), (EXCHANGE, 7, False, {})),
        (lambda c: lambda i=5: c.got.append(i), 5),
        (lambda c: decorated(c.with_exchange), EXCHANGE),
        (lambda c: decorated(c.without), "without"),
        (lambda c: c.got.append, EXCHANGE),
    ],
)
def test_a_step_may_omit_the_exchange(choose, got):
    client = Client()
    named("x").do("a", choose(client)).compile().apply([], EXCHANGE)
    assert client.got == [got]


def test_a_class_can_be_a_step():
    class Made:
        def __init__(self, exchange: list[str]) -> None:
            exchange.append("made")

    log: list[str] = []
    named("x", list[str]).do("a", Made).compile().apply([], log)
    assert log == ["made"]


@pytest.mark.parametrize(
    ("handler", "got"),
    [
        (lambda exchange, error: exchange["seen"].append((exchange is not None, str(error))) or True, [(True, "x")]),
        (lambda *args: args[0]["seen"].append(len(args)) or True, [2]),
        (lambda exchange, error, more=1: exchange["seen"].append(more) or True, [1]),
    ],
)
def test_a_handler_may_omit_the_exchange(handler, got):
    def failing() -> None:
        raise Fail("x")

    exchange: dict[str, list[Any]] = {"seen": []}
    flow = named("x").retry("r", handler, Steps().do("a", failing)).compile()
    assert flow.apply([], exchange) == ["start:x/rRetry"]
    assert exchange["seen"] == got


class AsyncCallable:
    async def __call__(self, exchange: list[str]) -> None:
        exchange.append("called")


@pytest.mark.parametrize("kind", ["function", "method", "partial", "object", "no exchange"])
def test_async_functions_of_every_kind_are_recognised(kind):
    client = Client()

    async def step(exchange: list[str]) -> None:
        exchange.append("called")

    log: list[str] = []

    async def bare() -> None:
        log.append("called")

    fn: Any = {
        "function": step,
        "method": client.awaited,
        "partial": functools.partial(step),
        "object": AsyncCallable(),
        "no exchange": bare,
    }[kind]
    flow = named("x", list[str]).do("a", fn).compile()
    assert not flow.inline
    with pytest.raises(NeedsAwait, match=r"x/a is async: use `await flow\.aapply\(state, exchange\)`"):
        flow.apply([], log)
    assert log == []
    assert asyncio.run(flow.aapply([], log)) == ["completed:x/a"]
    assert log + client.got in (["called"], [log])


def test_only_the_async_steps_refuse_apply():
    async def later() -> bool:
        return True

    flow = named("x").do("a", lambda: None).wait_for("w", later).do("b", lambda: None).compile()
    state = flow.apply([])
    with pytest.raises(NeedsAwait, match="x/wWaitFor is async"):
        flow.apply(state)
    state = asyncio.run(flow.aapply(state))
    assert flow.apply(state) == ["completed:x/b"]


def test_an_async_handler_is_reported_before_anything_is_called():
    async def handler(error: Exception) -> bool:
        return True

    log: list[str] = []
    flow = named("x").retry("r", handler, Steps().do("a", lambda: log.append("a"))).do("b", lambda: None).compile()
    with pytest.raises(NeedsAwait, match="x/rRetry/a is inside a retry group whose handler is async"):
        flow.apply([])
    assert log == []
    assert flow.apply(["completed:x/rRetry/a"]) == ["completed:x/b"]


@pytest.mark.parametrize("kind", ["do", "wait_for", "case"])
def test_a_sync_function_that_returns_an_awaitable_is_refused(kind):
    async def later() -> bool:
        return True

    inner = [Steps()] if kind == "case" else []
    flow = getattr(named("x"), kind)("a", lambda: (later(), 1)[0], *inner).compile()
    for run in (lambda: flow.apply([]), lambda: asyncio.run(flow.aapply([]))):
        with pytest.raises(StepflowError, match=r"x/a.*returned an awaitable: make it `async def` and await inside"):
            run()


def test_aapply_refuses_what_apply_refuses():
    flow = named("x").do("a", lambda: None).wait_event("e", "ev", int, lambda payload: None).compile()
    for state in ("x", ["y"], ["completed:x/a"]):
        with pytest.raises(StepflowError):
            asyncio.run(flow.aapply(state))  # type: ignore[arg-type]
    assert asyncio.run(flow.aapply(["completed:x"])) == ["completed:x"]
    assert flow.inline


def _some(a, b=1, *rest, **named): ...


@pytest.mark.parametrize(
    "fn",
    [
        lambda: None, lambda a: a, lambda a, b: a, lambda a, b=2: a, lambda a=1, b=2: a, lambda *a: a, lambda a, *b: a,
        lambda a, /, b: a, lambda a=1, /, *b: a, lambda **a: a, lambda a, **b: a, _some,
    ],
)  # fmt: skip
@pytest.mark.parametrize("full", [1, 2])
def test_plain_functions_are_counted_as_their_signatures_are(fn, full):
    parameters = list(inspect.signature(fn).parameters.values())
    arguments = tuple("abc"[:full])
    assert signature.plain_count(fn, full) == signature._count(parameters, signature.Signature("", arguments))


@pytest.mark.parametrize(
    "fn", [lambda *, a: a, lambda *, a=1: a, functools.wraps(_some)(lambda: None), print, int, _some.__call__]
)
def test_other_callables_are_counted_by_their_signatures_alone(fn):
    assert signature.plain_count(fn, 1) is None
