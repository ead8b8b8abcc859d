"""Rules of the state machine for delays, data, owned rows, and queries that filter revisions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import evolve, frozen
from hypothesis import strategies as st
from hypothesis.stateful import rule

from stepflow.drivers.port.commit import (
    Commit,
    Committed,
    DataRevOf,
    Dequeue,
    Enqueue,
    Fence,
    Placeholder,
    Release,
    RevOf,
    Write,
)
from stepflow.drivers.port.delays import DataQuery, DataWrite, Delay, DelayQuery, delay_key
from stepflow.drivers.port.queries import HistoryQuery
from stepflow.model.state import State, Transition
from stepflow.testing.conformance.model.choices import FLOWS, IDS, exchanges, ids, labels, offsets, transitions
from stepflow.testing.conformance.model.sides import Side

T = TypeVar("T")

SEEN = 4  # delays that are looked at


@frozen
class Change:
    """A commit of one State that may carry a queue row, a delay and data; `good`: it knows the State's revision.

    It refers to its own numbers, as those of an engine do: an annotation holds that of its data, the delay is at its revision.
    """

    run_id: str
    transition: Transition
    labels: dict[str, str]
    exchange: str | None
    good: bool
    write: bool
    due: int | None
    delay: int | None
    binding: bool
    blob: bytes | None

    def commit(self, rev: int, now: int) -> Commit:
        """The commit over revision `rev`."""
        state = State(self.run_id, rev, self.transition, self.labels, {"kept": "", "data": ""})
        delays: tuple[Delay, ...] = ()
        if self.delay is not None:
            woken = state._replace(transition=Transition("other"))
            delays = (Delay(woken, now + self.delay, self.binding),)
        return Commit(
            writes=(Write(state, self.exchange),) if self.write else (),
            queue=() if self.due is None else (Enqueue(self.run_id, "order", now + self.due, owned=True),),
            delays=delays,
            data=() if self.blob is None else (DataWrite(self.run_id, self.blob, self.labels),),
            placeholders=tuple(self._placeholders()),
        )

    def _placeholders(self) -> Iterator[Placeholder]:
        if self.write and self.delay is not None:
            yield Placeholder("delay", 0, None, RevOf(0))
        if self.write and self.blob is not None:
            yield Placeholder("write", 0, "data", DataRevOf(0))


changes = st.builds(
    Change,
    ids,
    transitions,
    labels,
    exchanges,
    st.sampled_from([True, True, True, False]),
    st.booleans(),
    st.none() | offsets,
    st.none() | offsets,
    st.booleans(),
    st.none() | st.binary(max_size=3),
)
keys = st.builds(delay_key, ids, st.integers(1, SEEN))
KEYS = tuple(delay_key(run_id, number) for run_id in IDS for number in range(1, SEEN + 1))


class DelayAndDataRules:
    """Rules of the DriverMachine, whose attributes these are."""

    sides: tuple[Side, Side]
    now: int

    if TYPE_CHECKING:

        def both(self, call: Callable[[Side], T]) -> T:
            """Make the same call on both sides."""

    @rule(given=st.lists(changes, min_size=1, max_size=4, unique_by=lambda change: change.run_id))
    def change(self, given: list[Change]) -> None:
        """Commit States with delays and data; the numbers of data and delays are the same on both sides."""

        def call(side: Side) -> list[Any]:
            records = side.session("main").load([change.run_id for change in given])
            revs = [
                (record.state.rev if record else 0) if change.good else 7_777_777
                for change, record in zip(given, records, strict=True)
            ]
            batch = [change.commit(rev, self.now) for change, rev in zip(given, revs, strict=True)]
            made: list[int] = []
            answers: list[Any] = []
            for change, result in zip(given, side.session("main").commit(batch, self.now), strict=True):
                if not isinstance(result, Committed):
                    answers.append(type(result).__name__)
                    continue
                made += result.revs
                for epoch in result.epochs:
                    side.fences[change.run_id] = Fence(change.run_id, epoch)
                answers.append((len(result.revs), result.data_revs, result.offsets, len(result.epochs)))
            side.made(made)
            return answers

        self.both(call)

    @rule(key=keys, fenced=st.booleans())
    def fire(self, key: str, fenced: bool) -> None:
        """A delay is over, under its claim or not."""

        def call(side: Side) -> list[str]:
            fence = side.fences.get(key, Fence(key, 0)) if fenced else None
            results = side.session("main").commit([Commit(fence, queue=(Dequeue(key),))], self.now)
            return [type(result).__name__ for result in results]

        self.both(call)

    @rule(key=keys, due=st.none() | offsets, crashes=st.sampled_from([None, 0, 2]))
    def put_off(self, key: str, due: int | None, crashes: int | None) -> None:
        """The claim of a delay is released."""

        def call(side: Side) -> list[bool]:
            at = None if due is None else self.now + due
            release = Release(side.fences.get(key, Fence(key, 0)), at, ("paid",), crashes=crashes)
            return side.session("main").release([release], self.now)

        self.both(call)

    @rule(owner=st.sampled_from(["main", "second"]), suspects=st.booleans())
    def claim_all(self, owner: str, suspects: bool) -> None:
        """Claim all that is due, delays too."""

        def call(side: Side) -> list[Any]:
            claims = side.session(owner).claim(FLOWS, self.now, 50, suspects=suspects)
            side.fences |= {claim.fence.id: claim.fence for claim in claims}
            return [(c.fence.id, c.row._replace(epoch=0, claim_rev=side.rank(c.row.claim_rev))) for c in claims]

        self.both(call)

    @rule(until=offsets, since=offsets, after=st.integers(0, 2), run_id=st.none() | ids, pending=st.booleans())
    def same_lists_of_delays(self, until: int, since: int, after: int, run_id: str | None, pending: bool) -> None:
        """Delays are listed alike."""
        query = DelayQuery(self.now + until, self.now + since - 20, after, 5, run_id, pending)

        def call(side: Side) -> list[Delay]:
            found = side.session("main").read(query)
            return [evolve(delay, state=side.state(delay.state)) for delay in found]

        self.both(call)

    @rule(rev=st.integers(1, 9))
    def same_data(self, rev: int) -> None:
        """Data is the same."""
        self.both(lambda side: side.session("main").read(DataQuery(rev)))

    @rule(
        bounds=st.tuples(st.integers(0, 20), st.none() | st.integers(0, 40)),
        groups=st.lists(labels, max_size=2),
        run_id=st.none() | ids,
        limit=st.integers(1, 9),
        flags=st.tuples(st.booleans(), st.booleans()),
        age=st.integers(0, 9),
    )
    def same_search(
        self,
        bounds: tuple[int, int | None],
        groups: list[dict[str, str]],
        run_id: str | None,
        limit: int,
        flags: tuple[bool, bool],
        age: int,
    ) -> None:
        """Filtered revisions are the same."""

        def call(side: Side) -> list[Any]:
            low, high = (_nth(side, bound) for bound in bounds)
            since = self.now - age if age else 0
            query = HistoryQuery(run_id, low or 0, limit, flags[0], tuple(groups), since, flags[1], high)
            return side.history(query)

        self.both(call)


def _nth(side: Side, number: int | None) -> int | None:
    """The last revision of the nth batch, or of the newest one; None for None."""
    return None if number is None else side.last_of(number)
