"""MemoryDriver: opens sessions on a store that lives as long as the driver object."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from stepflow.drivers.memory.prune import pruning
from stepflow.drivers.memory.session import Memory, MemoryStore
from stepflow.drivers.port.commit import Owner
from stepflow.drivers.port.pruning import Pruned
from stepflow.drivers.port.store import Driver, Maintenance, Store


class MemoryDriver(Driver):
    """A store in memory; engines with the same driver object share it; it is lost with the process."""

    url = "memory://"

    def __init__(self) -> None:
        self._memory = Memory()

    def connect(self, namespace: str, owner: Owner, now: int) -> Store:  # noqa: ARG002
        """Open a session; there is no schema to check."""
        return MemoryStore(self._memory, namespace, owner)

    def maintenance(self, namespace: str) -> Maintenance:
        """Open the maintenance port."""
        return MemoryMaintenance(self._memory, namespace)


class MemoryMaintenance(Maintenance):
    """Pruning and checking of a memory store."""

    def __init__(self, memory: Memory, namespace: str) -> None:
        self._memory = memory
        self._tables = memory.tables(namespace)

    def pruning(self, before: int, limit: int, *, now: int = 0, keep_until: int = 0) -> Iterator[Pruned]:
        return pruning(self._memory.changed, self._tables, before, limit, now, keep_until)

    def check(self) -> list[str]:
        with self._memory.changed:
            problems = []
            for run_id, run in self._tables.runs.items():
                if run.states[-1] != run.state:
                    problems.append(f"run {run_id!r}: its State is not the newest of its history")
            revs = [state.rev for state in self._tables.log]
            if any(a >= b for a, b in pairwise(revs)):
                problems.append("the history is not in ascending order of its revisions")
            return problems
