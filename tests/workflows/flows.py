"""Workflows, steps and values that several tests share."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

from attrs import define

from stepflow import AsyncContext, Context, workflow

CALLS: Counter[str] = Counter()


@define
class Signup:
    name: str


@define
class Customer:
    name: str
    number: int
    token: str


def create(name: str) -> int:
    CALLS["create"] += 1
    return len(name)


def double(value: int) -> int:
    CALLS["double"] += 1
    return 2 * value


async def adouble(value: int) -> int:
    CALLS["adouble"] += 1
    return 2 * value


@workflow("signup/v1")
def signup(wf: Context, inp: Signup) -> Customer:
    size = wf.execute("create/v1", create, inp.name)
    wf.execute("double/v1", double, size)
    wf.sleep("cool-off/v1", timedelta(days=3))
    number = wf.wait_for_event("number/v1", "CustomerNumberEvent", int, timeout=timedelta(days=7))
    return Customer(inp.name, number, wf.random_uuid7("token/v1"))


@workflow("asignup/v1")
async def asignup(wf: AsyncContext, inp: Signup) -> Customer:
    size = await wf.execute("create/v1", create, inp.name)
    await wf.execute("double/v1", adouble, size)
    await wf.sleep("cool-off/v1", timedelta(days=3))
    number = await wf.wait_for_event("number/v1", "CustomerNumberEvent", int, timeout=timedelta(days=7))
    return Customer(inp.name, number, await wf.random_uuid7("token/v1"))
