"""Exchanges, steps and chains that several tests share."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from attrs import define, field

from stepflow import Engine, HistoryEntry, Run, StepFlow, StepflowError, Steps, current, named


@define
class Order:
    """An order that records the steps that ran."""

    amount: int = 1
    log: list[str] = field(factory=list)


def note(text: str) -> Any:
    """A step that writes `text` into the order's log."""

    def step(order: Order) -> None:
        order.log.append(text)

    return step


def anote(text: str) -> Any:
    """The async form of `note`."""

    async def step(order: Order) -> None:
        order.log.append(text)

    return step


def attempts_into(seen: list[tuple[str, str, int]]) -> Any:
    """A step that records `current()`."""

    def step(order: Order) -> None:
        here = current()
        seen.append((here.key, here.step, here.attempt))

    return step


class Broken(Exception):
    """The error of the steps of these tests."""


class Flaky:
    """A step that raises `error` in its first `failures` calls."""

    def __init__(self, failures: int, error: type[BaseException] = Broken) -> None:
        self.left, self.error, self.calls = failures, error, 0

    def __call__(self, order: Order) -> None:
        self.calls += 1
        order.log.append(f"try {self.calls}")
        if self.left:
            self.left -= 1
            raise self.error(f"call {self.calls}")


def chain(name: str, *texts: str) -> StepFlow[Order]:
    """A flow that notes each text."""
    steps: Steps[Order] = named(name, Order)
    for text in texts:
        steps = steps.do(text, note(text))
    return steps.compile()


def positions(run: Run[Any]) -> list[str]:
    """The first string of every position in the run's history."""
    return [entry.position[0] for entry in run.history()]


def told(entry: HistoryEntry) -> tuple[list[str], Any, str]:
    """The content of a revision, without its number and time."""
    return entry.position, entry.exchange, entry.status


@contextmanager
def held_run(engine: Engine) -> Iterator[Run[Order]]:
    """The run `held` of the flow `slow`, in its step `s`, which goes on at the end of the block; a worker holds it."""
    began, go_on = threading.Event(), threading.Event()

    def slow(order: Order) -> None:
        began.set()
        go_on.wait(60)

    flow = named("slow", Order).do("s", slow).compile()
    engine.register(flow)
    with engine.worker():
        run = engine.start(flow, Order(), id="held")
        assert began.wait(60)
        try:
            yield run
        finally:
            go_on.set()
        with suppress(StepflowError):  # one that was cancelled
            run.result(timeout=60)
