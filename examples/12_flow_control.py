"""Flow control: concurrency limits per tenant, rate limits per API, priorities, and deduplication of requests."""

import asyncio
from collections import Counter
from datetime import timedelta

from attrs import define

from stepflow import AsyncEngine, Engine, Limit, named
from stepflow.testing import VirtualClock

busy: Counter[str] = Counter()
most: Counter[str] = Counter()


@define
class Call:
    tenant: str
    number: int


async def call(request: Call) -> None:
    busy[request.tenant] += 1
    most[request.tenant] = max(most[request.tenant], busy[request.tenant])
    await asyncio.sleep(0.02)
    busy[request.tenant] -= 1


call_flow = named("call.v1", Call).do("call", call).compile()
clock = VirtualClock()


def note(request: Call) -> None:
    print(f"{clock.datetime():%H:%M} call {request.number}")


note_flow = named("note.v1", Call).do("note", note).compile()


async def at_a_time() -> None:
    async with AsyncEngine("sqlite:///calls.db") as engine:
        engine.register(call_flow)
        for tenant, places in (("acme", 2), ("globex", 3)):
            requests = [(f"{tenant}-{number}", Call(tenant, number)) for number in range(12)]
            await engine.start_many(call_flow, requests, limits=Limit(tenant, concurrency=places))
        print("completed", (await engine.run_until_idle()).completed, "- at most at a time:", dict(most))


asyncio.run(at_a_time())

api = Limit("api", rate=2, per=timedelta(minutes=1))
with Engine("memory://", clock=clock) as engine:
    engine.register(note_flow)
    for number in (1, 2, 3, 4):
        engine.start(note_flow, Call("acme", number), id=f"call-{number}", limits=api)
    engine.start(note_flow, Call("acme", 5), priority=-1, limits=api)
    engine.run_until_idle(advance=True)
    again = [engine.start(note_flow, Call("acme", 6), dedup_key="acme/6") for _ in range(3)]
    print("runs for three equal requests:", len({run.id for run in again}))
