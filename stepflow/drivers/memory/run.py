"""Run: everything that the memory store keeps of one run."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from attrs import define, field

from stepflow.drivers.port.commit import Created, Event, Record
from stepflow.drivers.port.delays import Delay
from stepflow.drivers.port.journal import JournalQuery, JournalRow, Progress, is_forgotten, progress_of
from stepflow.drivers.port.snapshot import EventKey
from stepflow.model.lifecycle import QueueRow
from stepflow.model.state import State


@define
class MemoryRun:
    """Everything of one run. `events` maps names and publish ids to the event, or to None once it was consumed.

    `states` are all its revisions, `exchanges` their exchange texts: each commit would otherwise make one object more, which the
    collector of cycles looks at.
    """

    state: State
    created: Created
    exchange: str
    row: QueueRow | None = None
    priority: int = 0
    limits: str = ""
    states: list[State] = field(factory=list)
    exchanges: list[str] = field(factory=list)
    events: dict[EventKey, Event | None] = field(factory=dict)
    delay: Delay | None = None
    journal: dict[str, JournalRow] = field(factory=dict)

    def pending(self) -> list[Event]:
        """The events that no wait took yet, in order of seq."""
        return [event for event in self.events.values() if event is not None]

    def consume(self, seqs: Collection[int]) -> None:
        """Take pending events; their publish ids stay known."""
        for event in self.pending():
            if event.seq in seqs:
                self.events[event.name, event.id] = None

    def append(self, rows: Iterable[JournalRow], epoch: int, now: int, seqs: Iterator[int]) -> None:
        """Write journal rows; one that replaces another keeps its place and its seq."""
        for row in rows:
            last = self.journal.get(row.key)
            seq = next(seqs) if last is None else last.seq
            self.journal[row.key] = row._replace(seq=seq, epoch=epoch, at=row.at or now)

    def forget(self, name: str) -> None:
        """Delete the journal rows that `name` names."""
        self.journal = {key: row for key, row in self.journal.items() if not is_forgotten(key, name)}

    def rows(self, query: JournalQuery) -> tuple[JournalRow, ...]:
        """The journal rows that the query asks for."""
        rows = self.journal.values()
        if query.whole:
            return tuple(rows)
        found = [row for row in rows if query.has(row.seq) and query.key in (None, row.key)]
        return tuple(found[-query.limit :] if query.last and query.limit else found[: query.limit])

    def progress(self, epoch: int) -> Progress:
        """What the claim of this epoch wrote to the journal."""
        return progress_of(row.kind for row in self.journal.values() if row.epoch == epoch)

    def record(self, full: bool = True) -> Record:
        """The run as others see it."""
        if full:
            events, journaled = tuple(self.pending()), bool(self.journal)
            return Record(self.state, self.created, self.exchange, self.row, events, self.delay, journaled)
        return Record(self.state, self.created, "", self.row)
