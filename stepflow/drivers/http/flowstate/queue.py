"""The ready queue of one session, in memory: flowstate.v1 has none, so no other session knows what is claimed here.

What keeps two sessions apart is the revision: a State whose last commit is older than its time of recovery is claimed by
another commit of the same transition, which only one session can make.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence

from attrs import define, evolve, field

from stepflow.drivers.port.commit import Dequeue, Enqueue, Fence, Release
from stepflow.drivers.port.delays import Delay, delay_key
from stepflow.drivers.port.turns import first
from stepflow.model.lifecycle import QueueRow
from stepflow.model.recovery import left_alone, retry_after_s
from stepflow.model.state import State

RETRY_AFTER_S, SHORTEST_S, LONGEST_S = 120.0, 60.0, 300.0  # as the origin's recovery has them
SECOND = 1_000_000  # microseconds


def recovered_at(state: State) -> int:
    """When any session may take over a State that goes to a flow, microseconds UTC."""
    wait_s = min(max(retry_after_s(state, RETRY_AFTER_S), SHORTEST_S), LONGEST_S)
    return state.committed_at + round(wait_s * SECOND)


@define
class Entry:
    """A State, or a delay, and its queue row. `foreign`: another program moved the State, and did not go on with it."""

    state: State
    row: QueueRow
    delay: Delay | None = None
    foreign: bool = False


@define
class LocalQueue:
    """The rows of this session by their keys; not thread-safe."""

    owner: str
    entries: dict[str, Entry] = field(factory=dict)
    delayed: dict[str, set[str]] = field(factory=dict)  # id of a State -> keys of its delays
    _epochs: itertools.count[int] = field(factory=lambda: itertools.count(1))

    def clear(self) -> None:
        """Nothing is known any more; what is claimed goes on until its next commit."""
        self.entries.clear()
        self.delayed.clear()

    def holds(self, fence: Fence) -> bool:
        """Whether the claim is still this session's."""
        entry = self.entries.get(fence.id)
        return entry is not None and entry.row.owner != "" and entry.row.epoch == fence.epoch

    def owned(self, key: str) -> bool:
        """Whether this session has a claim on it."""
        return (entry := self.entries.get(key)) is not None and entry.row.owner != ""

    def moved(self, state: State, flows: Collection[str]) -> None:
        """The log has this revision: what was known of an older one is void. A State that goes to one of `flows` is due later,
        unless a delay of this revision will move it.
        """
        entry = self.entries.get(state.id)
        if entry is not None and state.rev <= entry.state.rev:
            return
        self._drop_delays(state)
        if state.parked or left_alone(state) or state.transition.to not in flows or state.id in self.delayed:
            self.entries.pop(state.id, None)
        else:
            row = QueueRow(state.transition.to, recovered_at(state), epoch=next(self._epochs), claim_rev=state.rev)
            self.entries[state.id] = Entry(state, row, foreign=True)

    def committed(self, state: State) -> None:
        """A commit of this session made this revision; what becomes of its row is in the commit."""
        self._drop_delays(state)
        if (entry := self.entries.get(state.id)) is not None:
            entry.state, entry.foreign = state, False

    def _drop_delays(self, state: State) -> None:
        for key in list(self.delayed.get(state.id, ())):
            entry = self.entries[key]
            if entry.state.rev < state.rev and not entry.row.owner:
                self.remove(key)

    def remove(self, key: str) -> None:
        """The row is gone."""
        entry = self.entries.pop(key, None)
        if entry is not None and entry.delay is not None:
            keys = self.delayed[entry.state.id]
            keys.discard(key)
            if not keys:
                del self.delayed[entry.state.id]

    def apply(self, parts: Iterable[Enqueue | Dequeue], states: Mapping[str, State]) -> tuple[int, ...]:
        """Change rows as a commit says; the epochs of those that are held now. `states` are those that it wrote."""
        epochs = []
        for part in parts:
            if isinstance(part, Dequeue):
                self.remove(part.id)
                continue
            state = states.get(part.id) or self.entries[part.id].state
            epoch, owner = next(self._epochs), self.owner if part.owned else ""
            self.entries[part.id] = Entry(state, QueueRow(part.flow, part.due, owner, epoch, state.rev))
            epochs += [epoch] if part.owned else []
        return tuple(epochs)

    def add_delay(self, delay: Delay) -> None:
        """A delay that will be due."""
        key = delay_key(delay.state.id, delay.offset)
        entry = self.entries.get(delay.state.id)
        if key in self.entries or (entry is not None and entry.state.rev > delay.state.rev):
            return
        row = QueueRow(delay.state.transition.to, delay.due, epoch=next(self._epochs), claim_rev=delay.state.rev)
        self.entries[key] = Entry(delay.state, row, delay)
        self.delayed.setdefault(delay.state.id, set()).add(key)

    def due(self, flows: Mapping[str, str], now: int, limit: int, skip: Collection[str]) -> list[str]:
        """The keys of rows that may be claimed, in their order; flows take turns."""
        found = [
            ((0, entry.row.due, key), entry.row.flow, "", key)
            for key, entry in self.entries.items()
            if not entry.row.owner and entry.row.due <= now and key not in skip and claimable(entry.row, flows)
        ]
        return [one[3] for one in first(found, flows, limit)]

    def take(self, key: str, state: State, crashes: int) -> tuple[Fence, QueueRow]:
        """Claim a row, of a State that is at this revision now."""
        entry, epoch = self.entries[key], next(self._epochs)
        row = QueueRow(
            entry.row.flow,
            entry.row.due,
            self.owner,
            epoch,
            state.rev,
            crashes=crashes,
            unfinished=entry.row.unfinished,
        )
        self.entries[key] = evolve(entry, state=state, row=row)
        return Fence(key, epoch), row

    def release(self, release: Release) -> bool:
        """Give a claim back; False if it is lost."""
        if not self.holds(release.fence):
            return False
        if release.due is None:
            self.remove(release.fence.id)
            return True
        entry = self.entries[release.fence.id]
        changed = entry.row._replace(owner="", due=release.due, blocked=release.blocked, blocked_by=release.blocked_by)
        unfinished = changed.unfinished if release.unfinished is None else release.unfinished
        entry.row = changed._replace(epoch=next(self._epochs), crashes=0, unfinished=unfinished)
        return True

    def ahead(self, flows: Mapping[str, str]) -> Sequence[QueueRow]:
        """The rows that may be claimed at some time."""
        rows = (entry.row for entry in self.entries.values())
        return [row for row in rows if not row.owner and claimable(row, flows)]


def claimable(row: QueueRow, flows: Mapping[str, str]) -> bool:
    """Whether the row is of one of these flows, and not blocked by its present definition."""
    return row.flow in flows and (not row.blocked or row.blocked_by != flows[row.flow])
