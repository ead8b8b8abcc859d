"""A driver none of whose batches takes a fast path, and the state machine that compares a driver's fast paths with it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from stepflow.drivers.port.commit import (
    Claim,
    Commit,
    CommitResult,
    Committed,
    Created,
    Dequeue,
    Fence,
    HeartbeatReply,
    Owner,
    Record,
    Release,
)
from stepflow.drivers.port.pruning import PrunedId
from stepflow.drivers.port.queries import DueSummary
from stepflow.drivers.port.step import Member, answer, whole
from stepflow.drivers.port.store import Driver, Maintenance, Query, Store
from stepflow.errors import StepflowError
from stepflow.testing.conformance.model.machine import DriverMachine

NO_RUN = "\0no such run"


class GeneralPath(Driver):
    """The same store; every commit has one more part, which changes nothing and which no fast path knows."""

    def __init__(self, driver: Driver) -> None:
        self._driver, self.url = driver, driver.url

    def connect(self, namespace: str, owner: Owner, now: int) -> Store:
        """Open a session."""
        return GeneralStore(self._driver.connect(namespace, owner, now))

    def maintenance(self, namespace: str) -> Maintenance:
        """Open the maintenance port."""
        return self._driver.maintenance(namespace)


class GeneralStore(Store):
    """One session; the calls that have no fast path are handed on as they are."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def close(self, keep: bool = False) -> None:
        self._store.close(keep)

    def commit(self, batch: Sequence[Member], now: int) -> list[CommitResult]:
        results = self._store.commit([_with_nothing_more(whole(member)) for member in batch], now)
        return [
            answer(member, result) if isinstance(result, Committed | StepflowError) else result
            for member, result in zip(batch, results, strict=True)
        ]

    def claim(
        self, flows: Mapping[str, str], now: int, limit: int, *, suspects: bool = False, skip: Collection[str] = ()
    ) -> list[Claim]:
        return self._store.claim(flows, now, limit, suspects=suspects, skip=skip)

    def release(self, batch: Sequence[Release], now: int) -> list[bool]:
        lost = Release(Fence(NO_RUN, 0), None)
        return self._store.release([*batch, lost], now)[:-1]

    def beat(self, now: int, dead: Collection[str] = (), mono: float | None = None) -> HeartbeatReply:
        return self._store.beat(now, dead, mono)

    def load(self, ids: Sequence[str]) -> list[Record | None]:
        return self._store.load(ids)

    def read(self, query: Query) -> Any:
        return self._store.read(query)

    def next_due(self, flows: Mapping[str, str], now: int) -> DueSummary:
        return self._store.next_due(flows, now)

    def post(self, tx: Any, *commits: Commit) -> list[Created | PrunedId | None]:
        return self._store.post(tx, *commits)

    def wait_for_change(self, token: int, timeout_s: float) -> int:
        return self._store.wait_for_change(token, timeout_s)


def _with_nothing_more(commit: Commit) -> Commit:
    return commit._replace(queue=(*commit.queue, Dequeue(NO_RUN)))


class FastPathMachine(DriverMachine):
    """Subclass it with `make_driver`, which makes another empty store at each call, and give `TestCase` to the test runner.

    Both sides are stores of the driver; they answer every sequence of calls alike, but one of them without fast paths.
    """

    def make_model(self) -> Driver:
        """The driver without its fast paths."""
        return GeneralPath(self.make_driver())
