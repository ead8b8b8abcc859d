"""Right programs: mypy --strict and pyright strict accept every line."""

from __future__ import annotations

import functools
import sqlite3
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, TypedDict, TypeVar, assert_type

import psycopg

from stepflow.model.flow import Flow
from stepflow.model.retry import RetryPolicy
from stepflow.steps import StepFlow, Steps, named


@dataclass
class Base:
    n: int = 0


@dataclass
class Order(Base):
    paid: bool = False


@dataclass
class Approval:
    by: str


class Row(TypedDict):
    a: int


def pay(order: Order) -> None: ...
async def apay(order: Order) -> None: ...
def touch(base: Base) -> int:
    return 1


def ping() -> str:
    return "x"


def is_paid(order: Order) -> bool:
    return order.paid


async def ais_paid(order: Order) -> bool:
    return order.paid


def yes() -> bool:
    return True


def on_error(order: Order, error: Exception) -> bool:
    return True


async def aon_error(error: Exception) -> bool:
    return True


def take(order: Order, approval: Approval) -> None: ...
def take_only(approval: Approval) -> None: ...


class Client:
    def send(self, order: Order) -> None: ...
    def ready(self) -> bool:
        return True


client = Client()


def book(order: Order, connection: sqlite3.Connection) -> None:
    order.n = connection.total_changes


async def note(connection: psycopg.AsyncConnection[tuple[int]]) -> None:
    await connection.execute("select 1")


inner = Steps(Order).do("a", pay).do("b", apay).do("c", ping)
assert_type(inner, Steps[Order])
free = Steps().do("ping", ping).wait_for("yes", yes, every=0.5)
assert_type(free, Steps[Any])
base = Steps(Base).do("touch", touch)
chain = (
    named("order.v1", Order)
    .do("pay", pay, timeout=30)
    .do("book", book, transaction=True, timeout=2)
    .do("note", note, transaction=True)
    .do("apay", apay, timeout=timedelta(minutes=1))
    .do("ping", ping, timeout=None)
    .do("touch", touch)
    .do("lambda", lambda order: order.n)
    .do("lambda0", lambda: None)
    .do("default", lambda i=3: i)
    .do("bound", client.send)
    .do("partial", functools.partial(take, approval=Approval("x")))
    .wait_for("paid", is_paid, every=1, timeout=timedelta(days=1))
    .wait_for("paid2", ais_paid)
    .wait_for("yes", yes)
    .wait_for("lam", lambda order: order.paid)
    .wait_for("lam0", lambda: True)
    .wait_for("client", client.ready)
    .wait_event("ev", "release.approved", Approval, take, timeout=timedelta(days=3))
    .wait_event("ev2", "x", Approval, take_only, latch=True)
    .wait_event("ev3", "x", int, lambda order, n: setattr(order, "n", n))
    .wait_event("ev4", "x", dict[str, Any], lambda order, payload: print(order.n, payload["x"]))
    .steps("inner", inner)
    .steps("free", free)
    .steps("base", base)
    .case("c", is_paid, inner)
    .case("c2", lambda o: o.paid, inner)
    .case("c3", yes, Steps(Order))
    .retry("r", on_error, inner)
    .retry("r2", aon_error, inner)
    .retry("r3", RetryPolicy(), inner)
    .retry("r4", lambda order, error: order.paid, inner)
    .loop_until("l", ais_paid, inner)
)
assert_type(chain, Steps[Order])
flow = chain.compile(
    concurrency=1, retry=RetryPolicy(), hung_after=timedelta(1), max_crashes=2, upgrade=lambda raw: raw
)
assert_type(flow, StepFlow[Order])
state: list[str] = []
order = Order()
while not flow.is_completed(state):
    state = flow.apply(state, order)
assert_type(flow.apply(None, order), list[str])


async def amain() -> None:
    assert_type(await flow.aapply([], order), list[str])
    assert_type(await nothing.aapply([]), list[str])


nothing = named("x").do("ping", ping).compile()
assert_type(nothing, StepFlow[Any])
nothing.apply([])
nothing.apply([], order)
named("x", dict[str, Any]).do("p", lambda d: d["x"]).compile().apply([], {})
named("x", Row).do("p", lambda d: d["a"]).compile().apply([], {"a": 1})


def anything(ex: Any) -> None: ...


named("x").do("p", anything).compile().apply([], {"a": 1})
none = named("x", type(None)).do("p", ping).compile()
none.apply([])
E = TypeVar("E")


def start(flow: Flow[E, E], exchange: E) -> E:
    return exchange


assert_type(start(flow, order), Order)


def get(flow: Flow[Any, E]) -> list[E]:
    return []


assert_type(get(flow), list[Order])
assert_type(flow.check()[0].kind, str)
flow.diagram("dot", state=state)


def decide(order: Order, answer: Literal["yes", "no"]) -> None: ...
def remark(order: Order, text: str | None) -> None: ...
def either(value: int | str) -> None: ...


fragment = Steps().do("pay", pay).wait_for("paid", is_paid)
with_fragment = named("fragments", Order).steps("pay", fragment).retry("again", RetryPolicy(2), Steps().do("pay", pay))
untyped: StepFlow[Order] = named("untyped").do("pay", pay).compile()
special = (
    named("special", Order)
    .wait_event("answer", "answered", Literal["yes", "no"], decide)
    .wait_event("remark", "remarked", str | None, remark)
)
union = named("union", int | str).do("either", either).compile()
faked: StepFlow[Order] = special.compile().replace("answer", decide)
