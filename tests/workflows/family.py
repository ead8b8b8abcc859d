"""Parents and children of every style, which several tests share."""

from __future__ import annotations

from collections import Counter
from typing import Any

from attrs import define

from stepflow import (
    AsyncContext,
    Cancelled,
    Context,
    Engine,
    Ok,
    StateCtx,
    commit,
    flow,
    named,
    park,
    workflow,
)
from stepflow.model.family import PARENT

DID: Counter[str] = Counter()


@define
class Item:
    n: int


def add(item: Item) -> None:
    DID["add"] += 1
    item.n += 1


def note(text: str) -> None:
    DID[text] += 1


chain = named("chain", Item).do("add", add).wait_event("go", "go", int, lambda item, n: setattr(item, "n", n)).compile()
short = named("short", Item).do("add", add).compile()


@flow("function")
def function(ctx: StateCtx) -> Any:
    DID["function"] += 1
    ctx.labels["seen"] = "1"
    del ctx.labels[PARENT]  # the library's own: it stays
    return commit(park(ctx))


@workflow("kid")
def kid(wf: Context, n: int) -> int:
    wf.execute("note", note, f"kid/{n}")
    wf.sleep("s", 10 * (n % 7))
    if n == 3:
        raise ValueError("three")
    return 10 * n


@workflow("undoing")
def undoing(wf: Context) -> None:
    wf.execute("note", note, "begun")
    try:
        wf.wait_for_event("e", "e", int)
    except Cancelled:
        wf.execute("undo", note, "undone")
        raise


@workflow("all")
def every(wf: Context, n: int) -> list[Any]:
    first = wf.start_child("short", short, Item(4))
    kids = wf.start_children("kid", kid, range(n))
    ends = wf.results("kids", kids)
    return [wf.result("first", first).n, *[e.value if isinstance(e, Ok) else str(e.error) for e in ends]]


@workflow("aall")
async def aevery(wf: AsyncContext, n: int) -> list[Any]:
    first = await wf.start_child("short", short, Item(4))
    kids = await wf.start_children("kid", kid, range(n))
    ends = await wf.results("kids", kids)
    return [(await wf.result("first", first)).n, *[e.value if isinstance(e, Ok) else str(e.error) for e in ends]]


@workflow("ends")
def ends(wf: Context, how: str) -> str:
    wf.start_child("c", undoing)
    wf.start_child("asleep", kid, 1)
    wf.start_child("waits", chain, Item(1))
    wf.start_child("left", kid, 2, on_parent_end="leave")
    if how == "fails":
        raise RuntimeError(how)
    if how == "waits":
        wf.wait_for_event("e", "e", int)
    if how == "renews":
        wf.wait_for_event("e", "e", str)
        wf.continue_as_new("renewed")
    return how


FLOWS: list[Any] = [chain, short, function, kid, undoing, every, aevery, ends]


def statuses(engine: Engine, parent: str) -> dict[str, str]:
    return {run.id.removeprefix(f"{parent}/"): str(run.status) for run in engine.runs(parent=parent)}
