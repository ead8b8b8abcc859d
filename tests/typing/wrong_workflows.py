"""Wrong programs with workflows: every line with an ignore is refused, for the reason it names."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from stepflow import AsyncContext, Context, Engine, workflow


@dataclass
class Signup:
    name: str


@dataclass
class Other:
    x: int = 0


def create(name: str) -> int:
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
    wf.sleep("g", "1s")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    wf.first_of("o", "n")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    z: str = wf.first_of("p", wf.event("n", str), wf.timer(1)).value  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    wf.timer("1s")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    wf.sleep_until("h", 5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    wf.set_labels("l", {"a": 1})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
    wf.start_child("c", signup, 3)  # type: ignore[misc]  # pyright: ignore[reportArgumentType]
    child = wf.start_child("d", signup, Signup("a"))
    w: str = wf.result("r", child)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    wf.start_children("e", signup, [3])  # type: ignore[misc]  # pyright: ignore[reportArgumentType]
    wf.start_child("f", signup, Signup("a"), on_parent_end="stay")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    wf.result("g", signup)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    print(x, y, z, v, w)
    return 1


@workflow("asignup/v1")
async def asignup(wf: AsyncContext, inp: Signup) -> int:
    u: tuple[str, str] = await wf.gather(wf.random_uuid7("f"), wf.random_uint64("g"))  # type: ignore[arg-type]  # pyright: ignore[reportAssignmentType]
    wf.gather(wf.run_id)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportUnusedCoroutine]
    print(u)
    x: str = await wf.execute("e", create, inp.name)  # type: ignore[arg-type]  # pyright: ignore[reportAssignmentType]
    print(x)
    return 1


workflow(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
workflow("x", retry=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def program(engine: Engine) -> None:
    engine.start(signup, Other())  # type: ignore[misc]  # pyright: ignore[reportArgumentType]
    run = engine.start(signup, Signup("a"))
    z: Other = run.result()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    print(z)
