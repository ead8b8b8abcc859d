"""Wrong programs: every line with an ignore is refused by mypy, by pyright, or by both, for the reason it names."""

# A line that one of the two checkers should accept, or that has an ignore too many, fails the test beside this file.
from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import TypeVar

from stepflow.model.flow import Flow
from stepflow.steps import StepFlow, Steps, named


@dataclass
class Order:
    paid: bool = False


@dataclass
class Other:
    x: int = 0


def pay(order: Order) -> None: ...
def other(o: Other) -> None: ...
def is_paid(order: Order) -> bool:
    return order.paid


def no_bool(order: Order) -> str:
    return ""


def nothing(order: Order) -> None: ...
async def ano_bool(order: Order) -> str:
    return ""


def two(order: Order, x: int) -> None: ...
def take(order: Order, approval: Other) -> None: ...
def on_error(order: Order, error: Exception) -> bool:
    return True


def on_error_none(error: Exception) -> None: ...
def on_value(error: ValueError) -> bool:
    return True


def transacted(order: Order, connection: sqlite3.Connection) -> None:
    order.paid = connection.total_changes > 0


def untransacted() -> None: ...


inner = Steps(Order).do("a", pay)
alien = Steps(Other).do("a", other)
base = named("x", Order)
base.do("a", other)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
base.do("t", untransacted, transaction=True)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
base.do("u", transacted)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
base.do("a", 3)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
base.do("a", two)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
base.do(3, pay)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
base.do("l", lambda order: order.payd)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownLambdaType, reportUnknownMemberType]
base.wait_for("a", no_bool)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
base.wait_for("a", ano_bool)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
base.wait_for("a", nothing)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
base.wait_for("a", lambda order: None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
base.wait_for("a", is_paid, every="1s")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
base.wait_event("a", "e", int, take)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
base.wait_event("a", 3, Other, take)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
base.wait_event("a", "e", Other, pay)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
base.steps("a", alien)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
base.steps("a", pay)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
base.case("a", no_bool, inner)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
base.case("a", is_paid, pay)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
base.retry("a", on_error_none, inner)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
base.retry("a", on_value, inner)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
base.retry("a", pay, inner)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
base.loop_until("a", no_bool, inner)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
base.compile(concurrency="3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
base.compile(hung_after="3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
flow = base.compile()
flow.apply([])  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
flow.apply([], Other())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
flow.apply("start:x", Order())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
flow.is_completed("x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
flow.diagram("svg")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
x: StepFlow[Other] = flow  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
y: str = flow.apply([], Order())  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
base.steps("a", Steps().do("a", 3))  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
named("x", Order())  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
named(Order)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
E = TypeVar("E")


def start(flow: Flow[E, E], exchange: E) -> E:
    return exchange


start(flow, Other())  # type: ignore[misc]  # pyright: ignore[reportArgumentType]


async def amain() -> None:
    await flow.apply([], Order())  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
    await flow.aapply([])  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    flow.is_completed(flow.aapply([], Order()))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


print(flow.inlin)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownArgumentType, reportUnknownMemberType]
base.doo("x", pay)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
