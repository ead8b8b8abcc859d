"""prune: deletes ended runs a few at a time; their revisions stay in the log of the namespace, unread, until all are deleted."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice
from threading import Condition

from stepflow.drivers.memory.run import MemoryRun
from stepflow.drivers.memory.tables import MemoryTables
from stepflow.drivers.port.pruning import PAGE, RUNS, Budget, Pruned, PrunedId, own_of


def pruning(
    changed: Condition, tables: MemoryTables, before: int, left: int, now: int, keep_until: int
) -> Iterator[Pruned]:
    """Delete a piece at each step, until there is nothing more to delete; `changed` is the lock of the store."""
    with changed:
        waiting = deque(tables.runs)
        tables.control.forget(before)
        for run_id in [key for key, gone in tables.pruned.items() if gone.until <= now]:
            del tables.pruned[run_id]
    try:
        while waiting and left > 0:
            with changed:
                piece = _piece(tables, waiting, before, min(left, RUNS), keep_until if keep_until > now else 0)
            if piece.runs:
                left -= piece.runs
                yield piece
    finally:
        _clear_log(changed, tables)


def _piece(tables: MemoryTables, waiting: deque[str], before: int, most: int, keep_until: int) -> Pruned:
    flows, revisions, budget = list[str](), 0, Budget()
    for run_id in list(islice(waiting, PAGE)):
        waiting.popleft()
        run = tables.runs.get(run_id)
        if run is None or not _is_over(tables, run, before):
            continue
        budget.rows -= len(run.states) + tables.attached.forget(run_id)
        del tables.runs[run_id]
        revisions += len(run.states)
        if keep_until:
            tables.pruned[run_id] = PrunedId(run_id, run.created.input_hash, keep_until)
        flows.append(run.created.flow)
        if budget.spent or len(flows) >= most:
            break
    return Pruned(len(flows), revisions, 1, own_of(flows))


def _is_over(tables: MemoryTables, run: MemoryRun, before: int) -> bool:
    ended = run.state.transition.status and run.state.committed_at < before and run.row is None
    return bool(ended) and not tables.attached.is_delayed(run.state.id)


def _clear_log(changed: Condition, tables: MemoryTables) -> None:
    """Drop what no query shows from the log, without the lock; revisions are only added meanwhile."""
    with tables.clearing:
        with changed:
            log = tables.log[:]
        kept = [state for state in log if tables.shows(state)]
        with changed:
            tables.log[: len(log)] = kept
