"""Wrong programs with workflows: every line with an ignore is refused, for the reason it names."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from stepflow import AsyncContext, AsyncEngine, Context, Engine, Failed, First, Ok, workflow


@dataclass
class Signup:
    name: str


@dataclass
class Other:
    x: int = 0


def create(name: str) -> int:
    return len(name)


async def acreate(name: str) -> int:
    return len(name)


def book(connection: sqlite3.Connection, name: str) -> int:
    return connection.total_changes + len(name)


@workflow("signup/v1")
def signup(wf: Context, inp: Signup) -> int:
    wf.execute("a", create, 3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    wf.execute("b", create)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    wf.execute("c", create, inp.name, 4)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    wf.execute(3, create, inp.name)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    wf.execute("d", create, inp.name, retry=3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    x: str = wf.execute("e", create, inp.name)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    y: str = wf.wait_for_event("f", "n", int)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    wf.map("m", create, [1])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    wf.transaction("t", book)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    wf.transaction("u", book, 3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    v: str = wf.transaction("v", book, inp.name)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    wf.execute("w", book, wf.tx, 3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    wf.sleep("g", "1s")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    wf.first_of("o", "n")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    z: str = wf.first_of("p", wf.event("n", str), wf.timer(1)).value  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    wf.timer("1s")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    wf.sleep_until("h", 5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    wf.set_labels("l", {"a": 1})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
    wf.start_child("c", signup, 3)  # type: ignore[misc]  # pyright: ignore[reportArgumentType, reportCallIssue]
    wf.start_child("c", signup)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    child = wf.start_child("d", signup, Signup("a"))
    w: str = wf.result("r", child)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    wf.start_children("e", signup, [3])  # type: ignore[misc]  # pyright: ignore[reportArgumentType]
    wf.start_child("f", signup, Signup("a"), on_parent_end="stay")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    wf.result("g", signup)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ends: list[Ok[str] | Failed] = wf.results("h", [child])  # type: ignore[list-item]  # pyright: ignore[reportAssignmentType]
    made: list[Ok[str] | Failed] = wf.map("n", create, ["a"])  # type: ignore[arg-type]  # pyright: ignore[reportAssignmentType]
    topic: str = wf.wait_for_topic("i", "rates", int)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    wf.first_of("q", wf.event("n", str), 3)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    first: First[str] = wf.first_of("s", child, wf.timer(1))  # type: ignore[arg-type]  # pyright: ignore[reportAssignmentType]
    wf.start_child("j", service, Other())  # type: ignore[misc]  # pyright: ignore[reportArgumentType, reportCallIssue]
    wf.execute("k", signup, inp)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    print(x, y, z, v, w, ends, made, topic, first)
    return 1


class Service:
    def run(self, wf: Context, inp: Signup) -> int:
        return wf.execute("a", create, inp.name)


class Wrong:
    def run(self, wf: Context, inp: Signup, more: int) -> int:
        return more


class AsyncService:
    async def run(self, wf: AsyncContext, inp: Signup) -> int:
        return await wf.execute("a", create, inp.name)


service, aservice = workflow("service/v1")(Service()), workflow("aservice/v1")(AsyncService())
workflow("wrong/v1")(Wrong())  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]


@workflow("asignup/v1")
async def asignup(wf: AsyncContext, inp: Signup) -> int:
    u: tuple[str, str] = await wf.gather(wf.random_uuid7("f"), wf.random_uint64("g"))  # type: ignore[arg-type]  # pyright: ignore[reportAssignmentType]
    wf.gather(wf.run_id)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportUnusedCoroutine]
    print(u)
    await wf.execute("a", create, 3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
    await wf.execute("b", acreate)  # type: ignore[arg-type, call-arg]  # pyright: ignore[reportArgumentType, reportCallIssue]
    await wf.execute("c", acreate, inp.name, 4)  # type: ignore[arg-type, call-arg]  # pyright: ignore[reportArgumentType, reportCallIssue]
    v: str = await wf.execute("d", acreate, inp.name)  # type: ignore[arg-type]  # pyright: ignore[reportAssignmentType]
    y: str = await wf.wait_for_event("h", "n", int)  # type: ignore[arg-type]  # pyright: ignore[reportAssignmentType]
    await wf.map("m", acreate, [1])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
    made: list[Ok[str] | Failed] = await wf.map("n", acreate, ["a"])  # type: ignore[arg-type]  # pyright: ignore[reportAssignmentType]
    await wf.transaction("t", book, 3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
    z: First[str] = await wf.first_of("o", wf.event("n", int), wf.timer(1))  # type: ignore[arg-type]  # pyright: ignore[reportAssignmentType]
    await wf.start_child("i", signup, 3)  # type: ignore[misc]  # pyright: ignore[reportArgumentType, reportCallIssue]
    child = await wf.start_child("j", asignup, Signup("a"))
    w: str = await wf.result("k", child)  # type: ignore[arg-type]  # pyright: ignore[reportAssignmentType]
    await wf.start_children("l", aservice, [Other()])  # type: ignore[misc]  # pyright: ignore[reportArgumentType]
    both: tuple[str, int] = await wf.gather(wf.execute("p", acreate, "a"), wf.wait_for_event("q", "n", int))  # type: ignore[arg-type]  # pyright: ignore[reportAssignmentType]
    print(v, y, made, z, w, both)
    x: str = await wf.execute("e", create, inp.name)  # type: ignore[arg-type]  # pyright: ignore[reportAssignmentType]
    print(x)
    return 1


workflow(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
workflow("x", atomic=True, on_failure="drop")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
workflow("x", retry=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def program(engine: Engine) -> None:
    engine.start(signup, Other())  # type: ignore[misc]  # pyright: ignore[reportArgumentType, reportCallIssue]
    run = engine.start(signup, Signup("a"))
    engine.start(service, Other())  # type: ignore[misc]  # pyright: ignore[reportArgumentType, reportCallIssue]
    engine.start(aservice, Other())  # type: ignore[misc]  # pyright: ignore[reportArgumentType, reportCallIssue]
    engine.start_many(service, [("a", Other())])  # type: ignore[misc]  # pyright: ignore[reportArgumentType]
    engine.schedule("s", signup, Other(), cron="@daily")  # type: ignore[misc]  # pyright: ignore[reportArgumentType, reportCallIssue]
    v: str = engine.get(aservice, "x").result()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    print(v)
    z: Other = run.result()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    print(z)


async def aprogram(engine: AsyncEngine) -> None:
    await engine.start(asignup, Other())  # type: ignore[misc]  # pyright: ignore[reportArgumentType, reportCallIssue]
    run = await engine.start(aservice, Signup("a"))
    z: Other = await run.result()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    await engine.schedule("s", asignup, Other(), cron="@daily")  # type: ignore[misc]  # pyright: ignore[reportArgumentType, reportCallIssue]
    print(z)
