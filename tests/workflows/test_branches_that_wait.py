"""Branches of a gather that wait for the same events and messages at the same time: each is taken once, and none is left while one waits for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stepflow import AsyncContext, Context, Engine, MemoryDriver, workflow
from stepflow.drivers.port.store import Driver
from stepflow.drivers.sqlite import SqliteDriver

Found = list[list[str]]


@workflow("child")
def child(wf: Context) -> str:
    return wf.wait_for_event("end", "end", str)


@workflow("w")
async def waiting(wf: AsyncContext, branches: list[list[str]]) -> Found:
    """Each branch waits for its ways; `event:a` and `topic:a` name them, `child` never ends, and it is told to stop after all else."""
    handle = await wf.start_child("child", child)

    async def branch(number: int, names: Sequence[str]) -> list[str]:
        ways: list[Any] = [wf.event(f"stop/{number}", str)]
        for name in names:
            kind, _, of = name.partition(":")
            ways.append(handle if kind == "child" else (wf.event if kind == "event" else wf.topic)(of, str))
        first = await wf.first_of(f"first/{number}", *ways)
        return [] if first.index == 0 else [names[first.index - 1], first.value]

    return list(await wf.gather(*[branch(number, names) for number, names in enumerate(branches)]))


NAMES = ("event:a", "event:b", "topic:a", "topic:b")


def found_by(store: Driver, branches: list[list[str]], published: list[str]) -> Found:
    """What the branches took of what was published before a worker looked; in real time, where they wait for the store's answers."""
    with Engine(store) as engine:
        engine.register(waiting, child)
        run = engine.start(waiting, branches)
        for number, name in enumerate(published):
            kind, _, of = name.partition(":")
            if kind == "event":
                run.publish(of, str(number))
            else:
                engine.publish_topic(of, str(number))
        for number in range(len(branches)):
            run.publish(f"stop/{number}", "")
        with engine.worker():
            return run.result(timeout=60)


def check(found: Found, branches: list[list[str]], published: list[str]) -> None:
    taken = [(name, int(text)) for name, text in (one for one in found if one)]
    assert len(set(taken)) == len(taken)
    assert all(published[number] == name for name, number in taken)
    left = {name for number, name in enumerate(published) if (name, number) not in taken}
    assert not [names for one, names in zip(found, branches, strict=True) if not one and left.intersection(names)]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.lists(st.sampled_from([*NAMES, "child"]), unique=True, max_size=5), min_size=1, max_size=4),
    st.lists(st.sampled_from(NAMES), max_size=6),
)
def test_each_is_taken_once(branches: list[list[str]], published: list[str]) -> None:
    check(found_by(MemoryDriver(), branches, published), branches, published)


@pytest.mark.parametrize(
    "names", [["event:a", "child"], ["topic:a", "topic:b"], ["event:a", "topic:a", "child"]], ids=str
)
def test_those_that_wait_for_several_things_do_not_share_one(names: list[str], tmp_path: Any) -> None:
    branches, published = [names] * 3, [names[0]] * 2
    found = found_by(SqliteDriver(tmp_path / "runs.db"), branches, published)
    check(found, branches, published)
    assert sorted(map(len, found)) == [0, 2, 2]
