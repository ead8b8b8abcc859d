"""Random programs: workflows that are lists of calls, sync and async, with steps whose effects are counted."""

from __future__ import annotations

from collections import Counter
from typing import Any

from attrs import define, field
from hypothesis import strategies as st

from stepflow import AsyncContext, Context, RetryPolicy, TimedOut, Workflow, workflow


class Broken(Exception):
    """What the steps of programs raise."""


@define
class Program:
    """Calls `(kind, number)`; `effects` counts the times that each step was called, `left` its failures to come."""

    calls: list[tuple[str, int]]
    effects: Counter[str] = field(factory=Counter)
    left: Counter[str] = field(factory=Counter)

    def step(self, key: str, number: int) -> int:
        """A step that fails so many times as it is told at its first call."""
        self.effects[key] += 1
        if key not in self.left:
            self.left[key] = number
        if self.left[key]:
            self.left[key] -= 1
            raise Broken(f"{key} {number}")
        return number

    async def astep(self, key: str, number: int) -> int:
        return self.step(key, number)

    def sync_flow(self) -> Workflow[None, list[Any]]:
        @workflow("program")
        def flow(wf: Context) -> list[Any]:
            found: list[Any] = []
            for n, (kind, number) in enumerate(self.calls):
                key = f"{kind}/{n}"
                if kind == "gather":
                    kind = "step"
                if kind == "sleep":
                    wf.sleep(key, number)
                elif kind == "draw":
                    found.append([wf.random_uint64(key), wf.random_uuid7(f"{key}/2"), str(wf.now(f"{key}/3"))])
                elif kind == "first":
                    ways = wf.event("event/0", int), wf.event("event/1", int), wf.timer(number)
                    found.append(str(wf.first_of(key, *ways)))
                elif kind == "event":
                    try:
                        found.append(wf.wait_for_event(key, f"event/{number % 2}", int, timeout=number + 1))
                    except TimedOut:
                        found.append("late")
                else:
                    try:
                        found.append(wf.execute(key, self.step, key, number, retry=policy(kind)))
                    except Broken as error:
                        found.append(str(error))
            return found

        return flow

    async def branch(self, wf: AsyncContext, key: str, number: int) -> Any:
        """What one branch of a gather does: a few calls, some of which wait."""
        try:
            one = await wf.execute(
                f"{key}/{number}/a", self.step, f"{key}/{number}/a", number % 2, retry=policy("later")
            )
            await wf.sleep(f"{key}/{number}/s", number)
            ways = wf.event(f"branch/{number}", int), wf.timer(2)
            two = await wf.first_of(f"{key}/{number}/f", *ways)
            inner = await wf.gather(
                wf.execute(f"{key}/{number}/b", self.astep, f"{key}/{number}/b", 0), wf.sleep(f"{key}/{number}/t", 1)
            )
            return [one, str(two), inner]
        except Broken as error:
            return str(error)

    def async_flow(self) -> Workflow[None, list[Any]]:
        @workflow("program")
        async def flow(wf: AsyncContext) -> list[Any]:
            found: list[Any] = []
            for n, (kind, number) in enumerate(self.calls):
                key = f"{kind}/{n}"
                if kind == "gather":
                    found.append(str(await wf.gather(*[self.branch(wf, key, b) for b in range(number + 1)])))
                elif kind == "sleep":
                    await wf.sleep(key, number)
                elif kind == "draw":
                    drawn = [
                        await wf.random_uint64(key),
                        await wf.random_uuid7(f"{key}/2"),
                        str(await wf.now(f"{key}/3")),
                    ]
                    found.append(drawn)
                elif kind == "first":
                    ways = wf.event("event/0", int), wf.event("event/1", int), wf.timer(number)
                    found.append(str(await wf.first_of(key, *ways)))
                elif kind == "event":
                    try:
                        found.append(await wf.wait_for_event(key, f"event/{number % 2}", int, timeout=number + 1))
                    except TimedOut:
                        found.append("late")
                else:
                    try:
                        step = self.astep if number % 2 else self.step
                        found.append(await wf.execute(key, step, key, number, retry=policy(kind)))  # type: ignore[arg-type]
                    except Broken as error:
                        found.append(str(error))
            return found

        return flow


def policy(kind: str) -> RetryPolicy | None:
    """No retries, at once, or after a while."""
    return {"step": None, "again": RetryPolicy(max_attempts=3, delay=0), "later": RetryPolicy(max_attempts=2)}[kind]


programs = st.lists(
    st.tuples(
        st.sampled_from(["step", "again", "later", "sleep", "draw", "event", "first", "gather"]), st.integers(0, 3)
    ),
    max_size=8,
)
