"""Rules of the state machine for journal rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import rule

from stepflow.drivers.port.commit import Commit, Fence, Write
from stepflow.drivers.port.delays import delay_key
from stepflow.drivers.port.journal import JournalRow
from stepflow.drivers.port.step import Member
from stepflow.model.state import State
from stepflow.testing.conformance.kit import as_member
from stepflow.testing.conformance.model.choices import IDS, ids, transitions
from stepflow.testing.conformance.model.sides import Side

T = TypeVar("T")

keys = st.sampled_from(["a", "a:", "a:x", "a:y", "b:x", "ä"])
names = st.sampled_from(["", "a", "a:", "b:", "a:x", "nothing"])
rows = st.builds(
    JournalRow,
    keys,
    st.sampled_from(["once", "step"]),
    st.sampled_from(["", "f"]),
    st.sampled_from(["1", '"ü"']),
    st.booleans(),
    seq=st.just(0),
    epoch=st.just(0),
    at=st.sampled_from([0, 7]),
)
KEYS = (*IDS, *(delay_key(run_id, number) for run_id in IDS for number in (1, 2)))


class JournalRules:
    """Rules of the DriverMachine, whose attributes these are."""

    sides: tuple[Side, Side]
    now: int

    if TYPE_CHECKING:

        def both(self, call: Callable[[Side], T]) -> T:
            """Make the same call on both sides."""

        def commit(self, batches: Callable[[Side], Sequence[Member]]) -> None:
            """Commit on both sides."""

    @rule(
        given=st.dictionaries(
            ids | st.sampled_from(KEYS),
            st.tuples(st.lists(rows, max_size=3), st.sampled_from(["usual", "fast", "despite a pause"])),
            min_size=1,
            max_size=5,
        )
    )
    def append(self, given: dict[str, tuple[list[JournalRow], str]]) -> None:
        """Write rows under the fences that were claimed last."""

        def batch(side: Side) -> list[Member]:
            fences = {run_id: side.fences.get(run_id, Fence(run_id, 0)) for run_id in given}
            commits = [
                (Commit(fences[run_id], journal=tuple(written), despite_pause=how == "despite a pause"), how)
                for run_id, (written, how) in given.items()
            ]
            return [as_member(commit) if how == "fast" else commit for commit, how in commits]

        self.commit(batch)

    @rule(
        run_id=ids,
        forgotten=st.lists(names, min_size=1, max_size=2),
        written=st.lists(rows, max_size=2),
        transition=st.none() | transitions,
        consume=st.booleans(),
        despite_pause=st.booleans(),
    )
    def forget(
        self,
        run_id: str,
        forgotten: list[str],
        written: list[JournalRow],
        transition: Any,
        consume: bool,
        despite_pause: bool,
    ) -> None:
        """Forget rows with a step that may have rows of its own, and may use up an event."""

        def batch(side: Side) -> list[Member]:
            (record,) = side.session("main").load([run_id])
            writes = (
                () if record is None or transition is None else (Write(State(run_id, record.state.rev, transition)),)
            )
            first = tuple(event.seq for event in record.events[:1]) if record and consume else ()
            fence = side.fences.get(run_id, Fence(run_id, 0))
            given = tuple(forgotten), tuple(written)
            commit = Commit(fence, writes=writes, consume=first, forget=given[0], journal=given[1])
            return [commit._replace(despite_pause=despite_pause)]

        self.commit(batch)
