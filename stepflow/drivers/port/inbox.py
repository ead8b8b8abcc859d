"""Commits that travel through a caller's own transaction: what may be posted, and its text in the inbox."""

from __future__ import annotations

import json
from typing import Any

from stepflow.drivers.port.commit import Commit, Created, Enqueue, Event, Write
from stepflow.errors import StoreError
from stepflow.model.state import State, Transition


def dump(commit: Commit) -> str:
    """The JSON text of a commit. Raises StoreError for one that cannot be posted."""
    rows = [part for part in commit.queue if isinstance(part, Enqueue)]
    if commit.dedup is not None:
        raise StoreError(
            "tx= and dedup_key= exclude each other: the earlier run is not known before your commit; use id= instead"
        )
    if commit.delays or commit.data or commit.placeholders or any(row.owned for row in rows):
        raise StoreError("tx= cannot hold a run, delay it or store data: do that without tx=, after your commit")
    if commit.fence or commit.unowned or commit.consume or commit.cancel or len(rows) < len(commit.queue):
        raise StoreError("tx= is for starting and publishing; do the rest without tx=, after your commit")
    if any(write.state.rev for write in commit.writes):
        raise StoreError("tx= can start a run, it cannot write one that exists already: do that without tx=")
    raw = {
        "writes": [_dump_write(write) for write in commit.writes],
        "queue": [[row.id, row.flow, row.due, row.priority, False, row.limits] for row in rows],
        "publish": [[e.run_id, e.name, e.id, e.payload, e.published_at] for e in commit.publish],
    }
    return json.dumps(raw, ensure_ascii=False)


def _dump_write(write: Write) -> dict[str, Any]:
    state, created = write.state, write.created
    return {
        "id": state.id,
        "transition": state.transition.text,
        "labels": dict(state.labels),
        "annotations": dict(state.annotations),
        "exchange": write.exchange,
        "born": None if created is None else [created.flow, created.input_hash, created.created_at],
    }


def parse(body: str) -> tuple[Commit, int]:
    """The commit of a stored text, and the time as of which it takes place, microseconds UTC."""
    raw = json.loads(body)
    writes = tuple(
        Write(
            State(w["id"], 0, Transition.parse(w["transition"]), w["labels"], w["annotations"]),
            w["exchange"],
            None if w["born"] is None else Created(*w["born"]),
        )
        for w in raw["writes"]
    )
    publish = tuple(Event(*event) for event in raw["publish"])
    times = [write.created.created_at for write in writes if write.created] + [event.published_at for event in publish]
    queue = tuple(Enqueue(*part) for part in raw["queue"])
    return Commit(writes=writes, queue=queue, publish=publish), max(times, default=0)
