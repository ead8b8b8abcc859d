"""RunSnapshot: a run as the transaction that changes it sees it, and what the rules decide about its queue row."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import define, field

from stepflow.model.lifecycle import UNSET, QueueRow
from stepflow.model.state import Transition

EventKey = tuple[str, str]
"""The name of an event and its publish id: together they identify it within a run."""


@define
class RunSnapshot:
    """A run, or a pending delay under its key, as its transaction sees it. The rules read it and note changes on it.

    `rev` is 0 if there is no such run, PRUNED if its id is refused after pruning. `pending` and `known` may be left empty for
    the runs that `pending_ids_of` and `publishes_of` do not name.
    """

    rev: int = 0
    newest: int = 0  # the revision after the decided writes; a claim by the committer is made on it
    epoch: int | None = None  # of its queue row as it was read
    row: QueueRow | None = None
    status: str = ""  # the final status
    awaits: tuple[str, ...] = ()  # names of the events that it waits for
    target: str = ""  # where its transition goes
    priority: int = 0  # of its next queue row
    limits: str = ""  # of its next queue row
    labels: str = "{}"  # their stored text, in stores that index them
    pending: dict[int, str] = field(factory=dict)  # seq -> name of the events that no wait took yet
    known: set[EventKey] = field(factory=set)  # the events of the batch that are stored already
    delay: int = 0  # the offset, if this is a pending delay
    placed: bool = False  # its queue row is to be written, or to be removed if `row` is None
    marked: bool = False  # its owned queue row gets the marks `cancel` and `paused` of `row`
    fired: bool = False  # the delay is over
    polls: bool = False  # the epoch is that of a claim of which the State does not know, in stores that have such

    def at(self, transition: Transition) -> None:
        """Take over the position of a State."""
        self.status, self.target, self.awaits = transition.status, transition.to, transition.events

    @property
    def cancelled(self) -> bool:
        """Whether a cancel was asked for that the holder has not carried out."""
        return self.row is not None and self.row.cancel and not self.status

    @property
    def paused(self) -> bool:
        """Whether the run is not to be claimed: what its rows hold from now on says so, too, until it is resumed or cancelled."""
        return self.row is not None and self.row.paused and not self.row.cancel and not self.status

    def place(self, row: QueueRow | None) -> None:
        """Replace or remove the queue row; a paused run keeps one."""
        if self.paused:
            row = row or QueueRow(self.target, UNSET, priority=self.priority, limits=self.limits)
            row = row._replace(paused=not row.cancel)
        self.row, self.placed = row, True

    def pause(self) -> None:
        """Mark the run; one of which a cancel was requested ends instead."""
        row = self.row
        if self.cancelled or self.paused:
            return
        if row is not None and row.owner:
            self.row, self.marked = row._replace(paused=True), True
            return
        row = row or QueueRow(self.target, UNSET, priority=self.priority, limits=self.limits)
        self.place(row._replace(paused=True))

    def resume(self, now: int) -> None:
        """Take the mark away: what became due, or was published, meanwhile lets the run go on."""
        if self.row is None or not self.row.paused:
            return
        row = self.row = self.row._replace(paused=False)
        if row.owner:
            self.marked = True
        elif self.has_pending(self.awaits):
            self.place(row._replace(due=min(row.due, now)))
        else:
            self.place(None if row.due == UNSET else row)

    def enqueue(self, flow: str, due: int, limits: str, *, cancel: bool = False) -> None:
        """Give it an unowned queue row."""
        self.place(QueueRow(flow, due, priority=self.priority, cancel=cancel, limits=limits))

    def has_pending(self, names: Iterable[str]) -> bool:
        """Whether an event of one of these names is there."""
        return bool(self.pending) and not set(names).isdisjoint(self.pending.values())
