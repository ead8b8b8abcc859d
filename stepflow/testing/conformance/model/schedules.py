"""Rules of the state machine for schedules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import rule

from stepflow.drivers.port.commit import Commit, Fence, Write
from stepflow.drivers.port.schedules import RUN_END, ScheduleChange, ScheduleQuery
from stepflow.drivers.port.step import Member
from stepflow.model.state import State
from stepflow.testing.conformance.model.choices import FLOWS, ids, offsets, transitions
from stepflow.testing.conformance.model.sides import Side

T = TypeVar("T")


class ScheduleRules:
    """Rules of the DriverMachine, whose attributes these are."""

    sides: tuple[Side, Side]
    now: int

    if TYPE_CHECKING:

        def both(self, call: Callable[[Side], T]) -> T:
            """Make the same call on both sides."""

        def commit(self, batches: Callable[[Side], Sequence[Member]]) -> None:
            """Commit on both sides."""

    @rule()
    def schedules_stay(self) -> None:
        """Nothing but a change of them changes schedules."""
        self.same_schedules()

    @rule(
        changes=st.lists(
            st.tuples(
                st.sampled_from(["s", "S", "t"]),
                st.booleans(),
                st.none() | offsets,
                st.sampled_from([None, "{}", "ü"]),
                st.none() | st.tuples(ids, transitions),
            ),
            min_size=1,
            max_size=3,
        )
    )
    def change_schedules(self, changes: list[tuple[str, bool, int | None, str | None, Any]]) -> None:
        """Change some schedules, of the version that is there or of another, each perhaps with a step of a run in the same atom."""

        def batch(side: Side) -> list[Member]:
            store = side.session("main")
            versions = {row.id: row.version for row in store.read(ScheduleQuery())}
            found: list[Member] = []
            for name, known, due, body, move in changes:
                version = versions.get(name, 0) if known else 7_777_777
                change = ScheduleChange(name, version, None if due is None else self.now + due, body)
                if move is None:
                    found.append(Commit(schedule=change))
                    continue
                run_id, transition = move
                (record,) = store.load([run_id])
                rev = record.state.rev if record else 7_777_777
                fence = side.fences.get(run_id, Fence(run_id, 0))
                found.append(Commit(fence, writes=(Write(State(run_id, rev, transition)),), schedule=change))
            return found

        self.commit(batch)
        self.same_schedules()

    def same_schedules(self) -> None:
        """The schedules are the same, with the same versions, and so is the first due time; the versions of ends of runs are revisions."""

        def call(side: Side) -> Any:
            store = side.session("main")
            due = [
                row._replace(version=side.rank(row.version)) if row.id.startswith(RUN_END) else row
                for row in store.read(ScheduleQuery(until=self.now))
            ]
            return store.read(ScheduleQuery()), due, store.next_due(FLOWS, self.now).schedule

        self.both(call)
