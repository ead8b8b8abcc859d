"""ForkTargets: finds where a run goes back to, in its history and its journal; for many runs in one thread, as each takes reads of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from stepflow.drivers.port.commit import Record
from stepflow.drivers.port.journal import JournalQuery, JournalRow
from stepflow.drivers.port.queries import HistoriesQuery, HistoryQuery, Revision
from stepflow.drivers.port.store import Store
from stepflow.engine.client import fork_plan as plans
from stepflow.engine.client.fork_plan import ForkPoint, Known, StepSearch
from stepflow.errors import NotFound, StepflowError, StoreError
from stepflow.model.state import State

FEW = 20  # revisions of each of many runs that are read together
PAGE = 200  # revisions that are looked through at a time


class ForkTargets:
    """Reads one store; every method is called in a thread."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def at_revision(self, record: Record, rev: int) -> tuple[tuple[JournalRow, ...], ForkPoint]:
        """The journal of the run of a full record, and the target of this revision."""
        run_id, (rows,) = record.state.id, self._journals([record])
        query = HistoryQuery(run_id, since_rev=rev - 1, until_rev=rev, limit=1, exchange=False)
        found: list[Revision] = self._store.read(query)
        if not found:
            raise NotFound(f"run {run_id!r} has no revision {rev}: it is of another run, or was pruned")
        plans.refuse_dropped(record.state, found[0].state)
        return rows, plans.at_revision(found[0].state, rows, record.created.flow)

    def before(self, record: Record, step: str, known: Known) -> tuple[tuple[JournalRow, ...], ForkPoint]:
        """The journal of the run of a full record, and the target before this step."""
        (rows,) = self._journals([record])
        return rows, self._before(record, rows, StepSearch(step, known))

    def refusals(self, records: Sequence[Record], step: str, known: Known, rewinds: bool) -> Mapping[str, str]:
        """Why runs of these full records have no target before this step, or may not go back there, by id."""
        found, search = dict[str, str](), StepSearch(step, known)
        ids = tuple(record.state.id for record in records if not _is_enough(record, search))
        pages = dict(zip(ids, self._store.read(HistoriesQuery(ids, FEW)), strict=True)) if ids else {}
        for record, rows in zip(records, self._journals(records), strict=True):
            try:
                self._before(record, rows, search, pages.get(record.state.id))
                if rewinds:
                    plans.refuse_unknown(record.state, rows)
            except StoreError:
                raise
            except StepflowError as refusal:
                found[record.state.id] = str(refusal)
        return found

    def _journals(self, records: Sequence[Record]) -> list[tuple[JournalRow, ...]]:
        """The journal of each of these runs."""
        ids = tuple(record.state.id for record in records if record.journaled)
        found: dict[str, tuple[JournalRow, ...]] = (
            dict(zip(ids, self._store.read(JournalQuery(ids)), strict=True)) if ids else {}
        )
        return [found.get(record.state.id, ()) for record in records]

    def _before(
        self,
        record: Record,
        rows: tuple[JournalRow, ...],
        search: StepSearch,
        newest: Sequence[State] | None = None,
    ) -> ForkPoint:
        created, open_one, pages = record.created.flow, None, []
        for page in self._pages(record.state, newest):
            pages.append(page)
            open_one = open_one or next((state for state in page if plans.is_open(state.transition)), None)
            if open_one is None:
                continue  # the newest revision at which it had not ended tells whether it is a workflow
            if plans.is_workflow(open_one.transition):
                return plans.before_call(open_one, rows, search.step)
            while pages:
                if (found := search.before(pages.pop(0), created)) is not None:
                    return ForkPoint(found, plans.again(found.transition, created), (), rows)
        raise search.unmade(record.state.id, created)

    def _pages(self, state: State, newest: Sequence[State] | None) -> Iterator[list[State]]:
        """The revisions of a run, the newest first: `state` is known already, and may come a second time. `newest` are the last `FEW`, if they were read."""
        yield [state]
        until: int | None = None
        if newest is not None:
            yield list(reversed(newest))
            if len(newest) < FEW:
                return
            until = newest[0].rev - 1
        while True:
            query = HistoryQuery(state.id, limit=PAGE, last=True, until_rev=until, exchange=False)
            page: list[Revision] = self._store.read(query)
            if page:
                yield [one.state for one in reversed(page)]
            if len(page) < PAGE:
                return
            until = page[0].state.rev - 1


def _is_enough(record: Record, search: StepSearch) -> bool:
    """Whether the newest revision of a run tells where it goes back to, or that it has no such step."""
    transition = record.state.transition
    if plans.is_open(transition) and plans.is_workflow(transition):
        return True
    try:
        return search.before([record.state], record.created.flow) is not None
    except StepflowError:
        return True
