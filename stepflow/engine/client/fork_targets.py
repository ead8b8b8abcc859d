"""ForkTargets: finds where a run goes back to, in its history and its journal; for many runs in one thread, as each takes reads of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from stepflow.drivers.port.commit import Record
from stepflow.drivers.port.journal import JournalQuery, JournalRow
from stepflow.drivers.port.queries import HistoryQuery, Revision
from stepflow.drivers.port.store import Store
from stepflow.engine.client import fork_plan as plans
from stepflow.engine.client.fork_plan import ForkPoint
from stepflow.errors import NotFound, StepflowError, StoreError
from stepflow.model.flow import Flow
from stepflow.model.state import State

Known = Callable[[str], Flow[Any, Any] | None]
"""The flow of a name, if it is known here."""
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
        return rows, plans.at_revision(found[0].state, rows, record.created.flow)

    def before(self, record: Record, step: str, known: Known) -> tuple[tuple[JournalRow, ...], ForkPoint]:
        """The journal of the run of a full record, and the target before this step."""
        (rows,) = self._journals([record])
        return rows, self._before(record, rows, step, known)

    def refusals(self, records: Sequence[Record], step: str, known: Known, rewinds: bool) -> Mapping[str, str]:
        """Why runs of these full records have no target before this step, or may not go back there, by id."""
        found: dict[str, str] = {}
        for record, rows in zip(records, self._journals(records), strict=True):
            try:
                self._before(record, rows, step, known)
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

    def _before(self, record: Record, rows: tuple[JournalRow, ...], step: str, known: Known) -> ForkPoint:
        created = record.created.flow
        flow, open_one, path = known(created), None, None
        pages: list[list[State]] = []
        for page in self._pages(record.state):
            pages.append(page)
            open_one = open_one or next((state for state in page if plans.is_open(state.transition)), None)
            if open_one is None:
                continue  # the newest revision at which it had not ended tells whether it is a workflow
            if plans.is_workflow(open_one.transition):
                return plans.before_call(open_one, rows, step)
            path = path if path is not None else _path(flow, step)
            while pages:
                if (found := plans.before_step(pages.pop(0), path, flow, created)) is not None:
                    return ForkPoint(found.state, found.transition, (), rows)
        raise NotFound(_unmade(record.state.id, step, flow is not None))

    def _pages(self, newest: State) -> Iterator[list[State]]:
        """The revisions of a run, the newest first: that one is known already, and comes a second time, as stores find the last ones most quickly."""
        yield [newest]
        until: int | None = None
        while True:
            query = HistoryQuery(newest.id, limit=PAGE, last=True, until_rev=until, exchange=False)
            page: list[Revision] = self._store.read(query)
            if page:
                yield [one.state for one in reversed(page)]
            if len(page) < PAGE:
                return
            until = page[0].state.rev - 1


def _path(flow: Flow[Any, Any] | None, step: str) -> str:
    """The path of a step that users may name in several ways; a position stays as it is, as no name has a colon."""
    return step if flow is None or ":" in step else flow.step_path(step)


def _unmade(run_id: str, step: str, known: bool) -> str:
    """Why there is no such step to go back to, and how to name one with, or without, the flow's definition."""
    how = "give a position of its history"
    if not known:
        how = (
            "its flow is not registered here: register it (`--flows MODULE` on the command line), or name a step of a chain by the"
            " position before it, one of its history"
        )
    return f"run {run_id!r} was never about to make step {step!r}: {how} (`run.history()`, `stepflow show`)"
