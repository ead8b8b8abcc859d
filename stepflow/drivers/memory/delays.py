"""DelaysAndData: the data of the runs of a namespace, and all delays that were set."""

from __future__ import annotations

from collections.abc import Container

from attrs import define, evolve, field

from stepflow.drivers.port.delays import DataQuery, DataWrite, Delay, DelayQuery, StoredData
from stepflow.model.state import State


@define
class MemoryDelaysAndData:
    """Numbers are consecutive from 1 and are not reused when the data and delays of a run are pruned."""

    last_blob: int = 0
    last_delay: int = 0
    blobs: dict[int, tuple[str, StoredData]] = field(factory=dict)  # by revision, with the id of the run
    delays: dict[int, Delay] = field(factory=dict)  # by offset

    def store(self, data: DataWrite) -> int:
        """Store a copy of a blob; returns its revision."""
        self.last_blob = rev = self.last_blob + 1
        self.blobs[rev] = data.run_id, StoredData(rev, bytes(data.blob), dict(data.annotations))
        return rev

    def put(self, delay: Delay) -> Delay:
        """Store a copy of a delay; returns it with its offset."""
        self.last_delay = offset = self.last_delay + 1
        s = delay.state
        own = State(s.id, s.rev, s.transition, dict(s.labels), dict(s.annotations), s.committed_at)
        self.delays[offset] = evolve(delay, state=own, offset=offset, fired=False)
        return self.delays[offset]

    def fire(self, offset: int) -> None:
        """Mark the delay as fired; it stays listed."""
        self.delays[offset] = evolve(self.delays[offset], fired=True)

    def forget(self, ids: Container[str]) -> None:
        """Delete the data and delays of these runs."""
        self.blobs = {rev: kept for rev, kept in self.blobs.items() if kept[0] not in ids}
        self.delays = {offset: delay for offset, delay in self.delays.items() if delay.state.id not in ids}

    def read_delays(self, query: DelayQuery) -> list[Delay]:
        """The delays that match the query, by due time and offset."""
        found = [
            delay
            for delay in self.delays.values()
            if query.since < delay.due <= query.until
            and delay.offset > query.after
            and not (query.pending and delay.fired)
            and query.run_id in (None, delay.state.id)
        ]
        return sorted(found, key=lambda delay: (delay.due, delay.offset))[: query.limit]

    def read_data(self, query: DataQuery) -> list[StoredData]:
        """The data of one revision, empty if it does not exist."""
        return [self.blobs[query.rev][1]] if query.rev in self.blobs else []
