"""AuditLog: who changed what through the server, and how it ended; in the log and in the store itself.

The intent is stored before the change begins, and replaced by its outcome: a change that the end of the process interrupts stays `begun`.
An entry is an ended State in a namespace of its own, `stepflow.audit`, with labels for what it is searched by. A store has that already,
durable and indexed, whichever store it is. Labels or the journal of the run itself would need a claim on it, and go when it is pruned;
they could not tell of flows and schedules. In its own namespace no list, count, watch or verb of users meets an entry.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from contextlib import suppress

from attrs import evolve

from stepflow.drivers.port.commit import Commit, Created, Record, Write
from stepflow.drivers.port.notes import AUDIT
from stepflow.engine.client.filters import Page, RunFilter
from stepflow.engine.clock import moment, uuid7
from stepflow.errors import CodecError, RevMismatch, StoreError
from stepflow.model.safe_text import printable
from stepflow.model.state import STATUS, State, Transition
from stepflow.server.namespaces import Namespaces
from stepflow.wire.audit_entry import AuditEntry, entry_of, labels_of, labels_wanted
from stepflow.wire.json_form import to_json_value

log = logging.getLogger("stepflow.audit")
UNFIT = "a value does not fit its type: the caller was told which, no values are kept here"
ENDED = Transition("", {STATUS: "completed"})


class AuditLog:
    """Writes entries, and reads them again."""

    def __init__(self, namespaces: Namespaces) -> None:
        self._namespaces = namespaces

    def begin(self, entry: AuditEntry) -> asyncio.Future[State]:
        """Store what was asked for, before it is done; what it was stored as, or why it could not be."""
        return asyncio.ensure_future(self._store(_storable(entry), None))

    async def begin_as(self, entry_id: str, entry: AuditEntry) -> None:
        """As `begin`, with an id that the caller chose: the same id again stores nothing."""
        with suppress(RevMismatch):
            await self._store(_storable(entry), None, entry_id)

    async def find(self, entry_id: str) -> tuple[State | None, AuditEntry | None]:
        """An entry by its id, and what it is stored as; None and None if there is none."""
        async with self._namespaces.engine(AUDIT) as engine:
            (record,) = await engine.reader.load([entry_id])
            return (None, None) if record is None else (record.state, _entry(record))

    async def end(self, begun: asyncio.Future[State] | None, entry: AuditEntry) -> None:
        """Log an entry that has its outcome, and put it in the place of the one that `begun` stored, if any did.

        A store that fails then does not undo what was done: that is logged.
        """
        entry = self._ended(entry)
        try:
            await self._store(entry, None if begun is None else await begun)
        except StoreError as error:  # its message says all: a store that is full refuses each entry
            log.error("the audit entry of %s by %s could not be stored: %s", _what(entry), entry.who, error)
        except Exception:
            log.exception("the audit entry of %s by %s could not be stored", _what(entry), entry.who)

    async def replace(self, before: State, entry: AuditEntry) -> None:
        """As `end`, for an entry that `find` has found. Raises what the store does."""
        await self._store(self._ended(entry), before)

    def _ended(self, entry: AuditEntry) -> AuditEntry:
        """The entry with its time, logged."""
        entry = evolve(_storable(entry), ended=moment(self._namespaces.clock.now()))
        log.info(
            "%s: %s: %s",
            printable(entry.who),
            printable(_what(entry)),
            entry.outcome,
            extra={"audit": to_json_value(entry)},
        )
        return entry

    async def _store(self, entry: AuditEntry, before: State | None, entry_id: str = "") -> State:
        """Store an entry in the place of the one before; what it was stored as."""
        async with self._namespaces.engine(AUDIT) as engine:
            now, labels, text = engine.clock.now(), labels_of(entry), json.dumps(to_json_value(entry))
            if before is None:
                state = State(entry_id or uuid7(engine.clock), 0, ENDED, labels, {}, now)
                write = Write(state, text, Created(AUDIT, "", now))
            else:
                state = State(before.id, before.rev, ENDED, labels, {}, now)
                write = Write(state, text, None, before.labels if labels != before.labels else None)
            made = await engine.committer.submit(Commit(unowned=(state.id,), writes=(write,)))
        return State(state.id, made.revs[0], ENDED, labels, {}, now)

    async def read(self, wanted: Mapping[str, str], limit: int, cursor: str | None) -> Page[AuditEntry]:
        """A page of the entries that have all of these facts, e.g. `{"kind": "run", "target": "order-1"}`; the newest first."""
        async with self._namespaces.engine(AUDIT) as engine:
            found = await engine.runs(RunFilter(labels=labels_wanted(wanted)), limit=limit, cursor=cursor)
            records: list[Record | None] = await engine.reader.load([run.id for run in found]) if found else []
            return Page([_entry(record) for record in records if record is not None], found.next)


def message_of(error: Exception, message: str) -> str:
    """The message of a refusal for an entry: that of a value which does not fit its type may have the value."""
    return UNFIT if isinstance(error, CodecError) else message


def _what(entry: AuditEntry) -> str:
    return " ".join(filter(None, (entry.verb, entry.kind, entry.target)))


def _storable(entry: AuditEntry) -> AuditEntry:
    """The entry with escapes for what no store takes in the name of what was changed; all else stays as it is, so that it is found by that name."""
    return evolve(entry, target=entry.target.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode())


def _entry(record: Record) -> AuditEntry:
    made, changed = record.created.created_at, record.state.committed_at
    return entry_of(record.exchange, record.state.labels, moment(made), moment(changed))
