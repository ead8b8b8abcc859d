"""Right programs with workflows: mypy --strict and pyright strict accept every line."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import assert_type

import psycopg

from stepflow import (
    AsyncContext,
    AsyncEngine,
    AsyncRun,
    Cancelled,
    ChildHandle,
    Context,
    Engine,
    Failed,
    First,
    Ok,
    RetryPolicy,
    Run,
    RunKey,
    Schedule,
    Terminal,
    TimedOut,
    Workflow,
    named,
    workflow,
)


@dataclass
class Signup:
    name: str


@dataclass
class Customer:
    number: int


def create(name: str, size: int) -> Customer:
    return Customer(len(name) + size)


async def acreate(name: str) -> Customer:
    return Customer(len(name))


def book(connection: sqlite3.Connection, name: str) -> Customer:
    return Customer(connection.total_changes + len(name))


async def abook(connection: psycopg.AsyncConnection[tuple[int]], name: str) -> Customer:
    return Customer(connection.info.backend_pid + len(name))


@workflow(
    "signup/v1", concurrency=10, retry=RetryPolicy(max_attempts=5), run_timeout=60, cancel_grace=timedelta(minutes=1)
)
def signup(wf: Context, inp: Signup) -> Customer:
    found = wf.execute("create/v1", create, inp.name, 3, retry=RetryPolicy(), timeout=30)
    assert_type(found, Customer)
    wf.sleep("a", timedelta(days=3))
    wf.sleep("b", 1.5)
    wf.sleep_until("c", datetime.now(UTC))
    assert_type(wf.wait_for_event("d", "number", int, timeout=timedelta(days=7)), int)
    assert_type(wf.wait_for_event("e", "customer", Customer, latch=True), Customer)
    assert_type(wf.random_uuid7("f"), str)
    assert_type(wf.random_uint64("g"), int)
    assert_type(wf.now("h"), datetime)
    assert_type(wf.patched("i"), bool)
    assert_type(wf.run_id, str)
    assert_type(wf.run_key(8), RunKey)
    wf.set_labels("l", {"a": "b", "c": None})
    assert_type(wf.execute("j", lambda: 5), int)
    assert_type(wf.map("m", len, ["a"], width=2, first=1), list[Ok[int] | Failed])
    assert_type(wf.transaction("t", book, inp.name, retry=RetryPolicy(), timeout=2), Customer)
    try:
        wf.execute("k", print, "a", renamed="old")
    except Cancelled:
        raise
    except TimedOut as error:
        raise Terminal(error) from error
    return found


@workflow("atomic/v1", atomic=True, on_failure="commit")
def atomic(wf: Context, inp: Signup) -> Customer:
    assert_type(wf.transaction("t", book, inp.name), Customer)
    return wf.execute("u", book, wf.tx, inp.name)


@workflow("asignup/v1")
async def asignup(wf: AsyncContext, inp: Signup) -> Customer:
    found = await wf.execute("create/v1", acreate, inp.name)
    assert_type(found, Customer)
    assert_type(await wf.execute("sync", create, inp.name, 1), Customer)
    await wf.sleep("a", 3)
    assert_type(await wf.wait_for_event("d", "number", int), int)
    assert_type(await wf.random_uuid7("f"), str)
    assert_type(await wf.transaction("t", book, inp.name), Customer)
    assert_type(await wf.transaction("u", abook, inp.name, timeout=2), Customer)
    assert_type(await wf.map("m", acreate, ["a"]), list[Ok[Customer] | Failed])
    assert_type(await wf.first_of("o", wf.event("a", int), wf.timer(3)), First[int | None])
    both = await wf.gather(wf.execute("p", acreate, "a"), wf.wait_for_event("q", "number", int))
    assert_type(both, tuple[Customer, int])
    assert_type(await wf.gather(*[wf.random_uuid7(key) for key in "ab"]), tuple[str, ...])
    assert_type(await wf.gather(wf.gather(wf.now("r")), wf.sleep("s", 1)), tuple[tuple[datetime], None])
    return found


def decided(wf: Context) -> int | str | None:
    first = wf.first_of("a", wf.event("yes", int), wf.event("no", str), wf.timer(3))
    assert_type(first, First[int | str | None])
    assert_type(wf.first_of("b", wf.event("yes", int)).value, int)
    assert_type(wf.first_of("child", wf.start_child("kid", alone), wf.timer(3)), First[int | None])
    assert_type(wf.wait_for_topic("topic", "rates", float, since="now", timeout=3), float)
    assert_type(wf.first_of("t", wf.topic("rates", float), wf.timer(3)), First[float | None])
    assert_type(wf.first_of("c", *[wf.event(name, int) for name in ("x", "y")]), First[int])
    return first.value


@workflow("alone/v1")
def alone(wf: Context) -> int:
    return 1


@workflow("optional/v1")
def optional(wf: Context, inp: Signup | None) -> int:
    return 0 if inp is None else len(inp.name)


@workflow("defaulted/v1")
async def defaulted(wf: AsyncContext, width: int = 8) -> int:
    return width


chain = named("chain/v1", Customer).do("a", print).compile()


@workflow("parent/v1")
def parent(wf: Context) -> int:
    child = wf.start_child(
        "a", signup, Signup("a"), on_parent_end="leave", labels={"a": "b"}, priority=3, run_timeout=60
    )
    assert_type(child, ChildHandle[Customer])
    assert_type(wf.result("b", child), Customer)
    assert_type(wf.result("c", wf.start_child("c", alone)), int)
    assert_type(wf.result("e", wf.start_child("d", chain, Customer(1))), Customer)
    assert_type(wf.start_child("g", optional), ChildHandle[int])
    assert_type(wf.start_child("h", optional, Signup("a")), ChildHandle[int])
    children = wf.start_children("f", signup, [Signup("a")])
    assert_type(children, list[ChildHandle[Customer]])
    assert_type(wf.results("g", children), list[Ok[Customer] | Failed])
    return len(child.id)


@workflow("aparent/v1")
async def aparent(wf: AsyncContext) -> int:
    child = await wf.start_child("a", signup, Signup("a"))
    assert_type(await wf.result("b", child), Customer)
    children = await wf.start_children("f", chain, [Customer(1)])
    assert_type(await wf.results("g", children), list[Ok[Customer] | Failed])
    return 1


class Service:
    def run(self, wf: Context, inp: Signup) -> int:
        return len(inp.name)


class AsyncService:
    async def run(self, wf: AsyncContext, inp: Signup) -> int:
        child = await wf.start_child("a", service, inp)
        return await wf.result("b", child)


service = workflow("service/v1")(Service())
aservice = workflow("aservice/v1")(AsyncService())
assert_type(signup, Workflow[Signup, Customer])
assert_type(asignup, Workflow[Signup, Customer])
assert_type(alone, Workflow[None, int])
assert_type(service, Workflow[Signup, int])
assert_type(aservice, Workflow[Signup, int])


def sync_program(engine: Engine) -> None:
    engine.register(signup, asignup, alone, service)
    run = engine.start(signup, Signup("a"))
    assert_type(run, Run[Customer])
    assert_type(run.result(), Customer)
    assert_type(engine.get(signup, "x"), Run[Customer])
    assert_type(engine.start(alone).result(), int)
    assert_type(engine.start(alone, None, id="a").result(), int)
    assert_type(engine.start(optional), Run[int])
    assert_type(engine.start(optional, None), Run[int])
    assert_type(engine.start(optional, Signup("a")), Run[int])
    assert_type(engine.start(defaulted), Run[int])
    assert_type(engine.start_many(optional, [("a", None), (None, Signup("a"))]), list[Run[int]])
    assert_type(engine.start_many(alone, [("a", None)]), list[Run[int]])
    assert_type(engine.schedule("s", alone, cron="@daily"), Schedule[int])
    assert_type(engine.schedule("s", optional, cron="@daily"), Schedule[int])
    assert_type(engine.start_many(service, [(None, Signup("a"))]), list[Run[int]])


async def async_program(engine: AsyncEngine) -> None:
    assert_type(await engine.start(asignup, Signup("a")), AsyncRun[Customer])
