"""The calls that flow functions of tests make once, and a look at the journal of a run."""

from __future__ import annotations

import asyncio
from typing import Any

from attrs import define

from stepflow import RetryPolicy, current
from stepflow.drivers.port.commit import Owner
from stepflow.drivers.port.journal import JournalQuery
from stepflow.drivers.port.store import Driver

AGAIN = RetryPolicy(max_attempts=5, delay=1, factor=1, jitter=0)


@define
class Receipt:
    """What a call gives back."""

    number: int


class Broken(Exception):
    """What a function raises."""


class Book:
    """The calls that were made, and what a function has still to raise."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.seen: list[Any] = []
        self.errors: list[str] = []
        self.raises = 0

    def receipt(self, number: int) -> Receipt:
        self.calls.append(number)
        return Receipt(number)

    async def areceipt(self, number: int) -> Receipt:
        await asyncio.sleep(0)
        return self.receipt(number)

    def once(self, key: str, number: int) -> Receipt:
        found = current().once(key, self.receipt, number)
        self.seen.append((key, found.number))
        return found

    def may_raise(self) -> None:
        if self.raises:
            self.raises -= 1
            raise Broken


def keys(store: Driver, run_id: str) -> list[str]:
    session = store.connect("", Owner("looks", "host", 1), 0)
    (rows,) = session.read(JournalQuery((run_id,)))
    session.close()
    return [row.key for row in rows]
