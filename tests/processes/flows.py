"""The flows that worker processes of the tests advance; their steps report to the pipe that the test listens to."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import select
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from attrs import define

from stepflow import (
    AsyncContext,
    Command,
    Context,
    Ok,
    StateCtx,
    Steps,
    commit,
    current,
    flow,
    named,
    park,
    workflow,
)

LOG_FD = int(os.environ.get("TEST_LOG", "-1"))
GATE_FD = int(os.environ.get("TEST_GATE", "-1"))
WHO = os.environ.get("TEST_WHO", "")
CHAIN = 12


@define
class Count:
    """An exchange that shows in every revision how many steps were taken."""

    n: int = 0
    poison: str = ""


def report(what: str, **fields: Any) -> None:
    """One line to the test, atomic; nothing when there is no test."""
    if LOG_FD >= 0:
        entry = {"at": time.monotonic_ns(), "who": WHO, "what": what, **fields}
        os.write(LOG_FD, json.dumps(entry).encode() + b"\n")


class Reporter(logging.Handler):
    """Reports the log messages of the library to the test, from any process."""

    def emit(self, record: logging.LogRecord) -> None:
        report("log", note=record.getMessage())


logging.getLogger("stepflow").addHandler(Reporter())
logging.getLogger("stepflow").setLevel(logging.INFO)


def tell(what: str = "step") -> None:
    """Report the step that is being executed."""
    here = current()
    report(what, run=here.run_id, step=here.step, attempt=here.attempt)


def pass_gate() -> None:
    """Block until the test opens the gate once more."""
    os.read(GATE_FD, 1)


def count(exchange: Count) -> None:
    tell()
    exchange.n += 1


async def acount(exchange: Count) -> None:
    tell()
    await asyncio.sleep(0)
    exchange.n += 1


def guarded(exchange: Count) -> None:
    """A step that shows where it begins and ends, and waits at the gate in between."""
    tell("begin")
    pass_gate()
    exchange.n += 1
    tell("end")


async def apass_gate() -> None:
    """The same on the event loop, without a thread."""
    loop, opened = asyncio.get_running_loop(), asyncio.Event()
    file = os.dup(GATE_FD)
    loop.add_reader(file, opened.set)
    try:
        while not select.select([GATE_FD], [], [], 0)[0]:
            await opened.wait()
            opened.clear()
    finally:
        loop.remove_reader(file)
        os.close(file)
    pass_gate()


async def aguarded(exchange: Count) -> None:
    tell("begin")
    await apass_gate()
    exchange.n += 1
    tell("end")


async def never_ending_step(exchange: Count) -> None:
    """Ignores a cancellation."""
    tell("begin")
    while True:
        with suppress(asyncio.CancelledError):
            await asyncio.get_running_loop().create_future()


def chain(name: str, step: Any, length: int) -> Steps[Count]:
    steps = named(name, Count)
    for i in range(length):
        steps = steps.do(f"s{i:02}", step)
    return steps


sync_chain = chain("sync_chain", count, CHAIN).compile(max_crashes=1000)
async_chain = chain("async_chain", acount, CHAIN).compile(max_crashes=1000)
single = chain("single", acount, 1).compile()
gated = chain("gated", guarded, 3).compile()
one_by_one = chain("one_by_one", guarded, 3).compile(concurrency=1)
agated = chain("agated", aguarded, 3).compile()
never_ending = chain("never_ending", never_ending_step, 1).compile()


def gated_call(n: int) -> int:
    """A call within a step that shows where it begins and ends, and waits at the gate in between."""
    here = current()
    report("begin", run=here.run_id, step=here.step, attempt=here.attempt, note=n)
    pass_gate()
    report("end", run=here.run_id, step=here.step, attempt=here.attempt, note=n)
    return n


async def agated_call(n: int) -> int:
    here = current()
    report("begin", run=here.run_id, step=here.step, attempt=here.attempt, note=n)
    await apass_gate()
    report("end", run=here.run_id, step=here.step, attempt=here.attempt, note=n)
    return n


def long(exchange: Count) -> None:
    exchange.n = sum(current().once(f"call-{n}", gated_call, n) for n in range(5))


async def along(exchange: Count) -> None:
    exchange.n = 0
    for n in range(5):
        exchange.n += await current().aonce(f"call-{n}", agated_call, n)


long_step = chain("long_step", long, 1).compile()
along_step = chain("along_step", along, 1).compile()


@flow("long_function")
def long_function(ctx: StateCtx) -> Command:
    return commit(park(ctx, sum=str(sum(current().once(f"call-{n}", gated_call, n) for n in range(5)))))


@flow("along_function")
async def along_function(ctx: StateCtx) -> Command:
    return commit(park(ctx, sum=str(sum([await current().aonce(f"call-{n}", agated_call, n) for n in range(5)]))))


def counted(n: int) -> int:
    """A step of a workflow."""
    tell()
    return n + 1


async def acounted(n: int) -> int:
    tell()
    await asyncio.sleep(0)
    return n + 1


def gated_step(n: int) -> int:
    """A step of a workflow that shows where it begins and ends, and waits at the gate in between."""
    tell("begin")
    pass_gate()
    tell("end")
    return n + 1


@workflow("sync_workflow", max_crashes=1000)
def sync_workflow(wf: Context, inp: Count) -> int:
    n = inp.n
    for i in range(CHAIN):
        n = wf.execute(f"s{i:02}", counted, n)
        if i == CHAIN // 2:
            wf.sleep("half", 0.001)
    return n


@workflow("async_workflow", max_crashes=1000)
async def async_workflow(wf: AsyncContext, inp: Count) -> int:
    n = inp.n
    for i in range(CHAIN):
        n = await wf.execute(f"s{i:02}", acounted if i % 2 else counted, n)
        if i == CHAIN // 2:
            await wf.sleep("half", 0.001)
    return n


@workflow("gathering", max_crashes=1000)
async def gathering(wf: AsyncContext, inp: Count) -> int:
    async def third(begin: int) -> int:
        n = 0
        for i in range(begin, begin + CHAIN // 3):
            n = await wf.execute(f"s{i:02}", acounted if i % 2 else counted, n)
            await wf.sleep(f"pause/{i}", 0.001)
        return n

    return inp.n + sum(await wf.gather(*[third(begin) for begin in range(0, CHAIN, CHAIN // 3)]))


paid_once = named("paid_once", Count).do("pay", guarded, at_most_once=True).do("then", count).compile()
apaid_once = named("apaid_once", Count).do("pay", aguarded, at_most_once=True).do("then", acount).compile()


@workflow("wpaid_once")
def wpaid_once(wf: Context, inp: Count) -> int:
    return wf.execute("then", counted, wf.execute("pay", gated_step, inp.n, at_most_once=True))


@workflow("paid_beside")
async def paid_beside(wf: AsyncContext, inp: Count) -> int:
    return sum(await wf.gather(*[wf.execute(key, gated_step, inp.n, at_most_once=True) for key in "abc"]))


@workflow("mapped")
def mapped(wf: Context, inp: Count) -> int:
    return sum(end.value for end in wf.map("m", gated_step, [inp.n] * 5, width=3) if isinstance(end, Ok))


@workflow("family", max_crashes=1000)
def family(wf: Context, inp: Count) -> int:
    """A workflow with children of two styles, which wait for each other's workers."""
    kids = wf.start_children("kid", sync_workflow, [inp] * 4)
    chains = [wf.start_child(f"chain/{n}", sync_chain, inp) for n in range(2)]
    total = sum(end.value for end in wf.results("kids", kids) if isinstance(end, Ok))
    return total + sum(wf.result(f"chain/{n}/end", child).n for n, child in enumerate(chains))


@workflow("afamily", max_crashes=1000)
async def afamily(wf: AsyncContext, inp: Count) -> int:
    kids = await wf.start_children("kid", async_workflow, [inp] * 4)
    chains = [await wf.start_child(f"chain/{n}", async_chain, inp) for n in range(2)]
    total = sum(end.value for end in await wf.results("kids", kids) if isinstance(end, Ok))
    return total + sum([(await wf.result(f"chain/{n}/end", child)).n for n, child in enumerate(chains)])


@workflow("awaiting")
def awaiting(wf: Context, _inp: Count) -> int:
    return wf.wait_for_event("go", "go", int)


@workflow("starting")
def starting(wf: Context, inp: Count) -> int:
    """A workflow with a child from before the call "mark", and others from after it."""
    early = wf.start_child("early", awaiting, inp)
    wf.random_uint64("mark")
    late = wf.start_children("late", awaiting, [inp] * 3, on_parent_end="leave")
    return wf.result("first", early) + sum(end.value for end in wf.results("others", late) if isinstance(end, Ok))


@workflow("five")
def five(wf: Context, inp: Count) -> int:
    n = inp.n
    for i in range(5):
        n = wf.execute(f"s{i}", gated_step, n)
    return n


@workflow("afive")
async def afive(wf: AsyncContext, inp: Count) -> int:
    n = inp.n
    for i in range(5):
        n = await wf.execute(f"s{i}", gated_step, n)
    return n


def mine(exchange: Count) -> None:
    """Kills its process if the run is poisoned and not fixed; other runs wait for the gate."""
    tell("begin")
    if exchange.poison and not Path(exchange.poison).exists():
        os._exit(9)
    if not exchange.poison:
        pass_gate()
    exchange.n += 1
    tell("end")


def spin(exchange: Count) -> None:
    """Uses the processor until the test opens the gate."""
    tell("begin")
    while not select.select([GATE_FD], [], [], 0)[0]:
        exchange.n = sum(range(2000)) % 2
    pass_gate()
    tell("end")


def take(exchange: Count, payload: int) -> None:
    tell("taken")
    exchange.n += payload


async def aturn(exchange: Count) -> None:
    """One round of a loop that nothing but a cancellation ends."""
    exchange.n += 1
    if exchange.n == 1:
        tell("turning")


def never() -> bool:
    return False


def fork_and_end() -> None:
    """The child ends as `multiprocessing` ends its children: at once, without cleaning up."""
    tell("begin")
    if (child := os.fork()) == 0:
        os._exit(0)
    os.waitpid(child, 0)
    tell("forked")


def fork_and_wait(exchange: Count) -> None:
    fork_and_end()
    pass_gate()
    exchange.n += 1


async def afork_and_wait(exchange: Count) -> None:
    fork_and_end()
    await apass_gate()
    exchange.n += 1


def leave_a_child(exchange: Count) -> None:
    tell("begin")
    if os.fork() == 0:
        pass_gate()
        os._exit(0)
    tell("forked")
    pass_gate()
    exchange.n += 1


def forget_to_exit(exchange: Count) -> None:
    """A mistake: the child returns from the step like its parent."""
    exchange.n += 1
    if exchange.n == 1 and (child := os.fork()):
        report("child ended", note=os.waitpid(child, 0)[1])


async def aforget_to_exit(exchange: Count) -> None:
    forget_to_exit(exchange)


@flow("late")
def late(ctx: StateCtx) -> Any:
    """Reports how many seconds after its time it is called."""
    assert ctx.delayed_until is not None
    report("fired", run=ctx.id, note=(datetime.now(UTC) - ctx.delayed_until).total_seconds())
    return park(ctx)


poisoned = chain("poisoned", mine, 2).compile()
spinning = chain("spinning", spin, 1).compile()
waiting = named("waiting", Count).do("first", count).wait_event("news", "news", int, take).compile()
endless = named("endless", Count).loop_until("turns", never, Steps(Count).do("turn", aturn)).compile()
forking = chain("forking", fork_and_wait, 1).compile()
aforking = chain("aforking", afork_and_wait, 1).compile()
leaving_a_child = chain("leaving_a_child", leave_a_child, 1).compile()
forgetful = chain("forgetful", forget_to_exit, 2).compile()
aforgetful = chain("aforgetful", aforget_to_exit, 2).compile()
