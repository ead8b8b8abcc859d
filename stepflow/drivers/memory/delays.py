"""DelaysAndData: the data of the runs of a namespace, and all delays that were set."""

from __future__ import annotations

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
    _of_run: dict[str, tuple[list[int], list[int]]] = field(
        factory=dict
    )  # revisions of its data, offsets of its delays

    def store(self, data: DataWrite) -> int:
        """Store a copy of a blob; returns its revision."""
        self.last_blob = rev = self.last_blob + 1
        self._of_run.setdefault(data.run_id, ([], []))[0].append(rev)
        self.blobs[rev] = data.run_id, StoredData(rev, bytes(data.blob), dict(data.annotations))
        return rev

    def put(self, delay: Delay) -> Delay:
        """Store a copy of a delay; returns it with its offset."""
        self.last_delay = offset = self.last_delay + 1
        s = delay.state
        self._of_run.setdefault(s.id, ([], []))[1].append(offset)
        own = State(s.id, s.rev, s.transition, dict(s.labels), dict(s.annotations), s.committed_at)
        self.delays[offset] = evolve(delay, state=own, offset=offset, fired=False)
        return self.delays[offset]

    def fire(self, offset: int) -> None:
        """Mark the delay as fired; it stays listed."""
        self.delays[offset] = evolve(self.delays[offset], fired=True)

    def is_delayed(self, run_id: str) -> bool:
        """Whether a delay of the run has not fired."""
        _blobs, offsets = self._of_run.get(run_id, ((), ()))
        return any(not self.delays[offset].fired for offset in offsets)

    def forget(self, run_id: str) -> int:
        """Delete the data and delays of a run; how many there were."""
        revs, offsets = self._of_run.pop(run_id, ((), ()))
        for rev in revs:
            del self.blobs[rev]
        for offset in offsets:
            del self.delays[offset]
        return len(revs) + len(offsets)

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
