"""OperatorApi: carries out operations, for the JSON API and for the pages alike: authorizes, acts, and writes the audit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, cast

from attrs import define, evolve
from starlette.requests import HTTPConnection

from stepflow.drivers.port.notes import NoteKind
from stepflow.drivers.port.store import Driver
from stepflow.engine.clock import moment
from stepflow.engine.instrument.request_trace import in_trace_of
from stepflow.errors import RunExists, StepflowError, StoreError, UnknownFlow
from stepflow.model.state import State
from stepflow.server import audit
from stepflow.server.audit import AuditLog
from stepflow.server.bulk_changes import BulkChanges
from stepflow.server.errors import Refusal, refusal_of
from stepflow.server.guard import authorize, caller_of, server_url
from stepflow.server.namespaces import Namespaces
from stepflow.server.operator_api import actions, bulk, flows, runs, schedules, store
from stepflow.server.operator_api.operation import Body, InNamespace, NoBody, Operation, OperatorCall
from stepflow.wire.audit_entry import AuditEntry

OPERATIONS: tuple[Operation, ...] = (
    *runs.OPERATIONS,
    *actions.OPERATIONS,
    *bulk.OPERATIONS,
    *flows.OPERATIONS,
    *schedules.OPERATIONS,
    *store.OPERATIONS,
)
BY_NAME: Mapping[str, Operation] = {one.name: one for one in OPERATIONS}
NOTHING = NoBody()
ENDED_BEFORE = "it was stopped, or the server ended, before all of it was done: a part may be done"


class OperatorApi:
    """The operations on one store."""

    def __init__(self, driver: Driver, namespaces: Namespaces) -> None:
        self.driver, self._namespaces, self.audit = driver, namespaces, AuditLog(namespaces)
        self.bulk_changes = BulkChanges(namespaces.clock)

    async def perform(
        self,
        operation: Operation,
        connection: HTTPConnection,
        query: InNamespace,
        body: Body = NOTHING,
        report: Callable[[int], object] | None = None,
    ) -> Any:
        """Do what is asked for, if the caller of this connection may; the answer of the operation. Raises Refusal.

        What changes something is in the audit before it begins, and with its outcome afterwards; also when it is refused.
        """
        changes = operation.body is not NoBody and body.changes()
        note = _AuditNote(self.audit, self._entry(operation, connection, query, body)) if changes else None
        try:
            scope = "admin" if operation.admin_for is not None and operation.admin_for(body) else operation.scope
            authorize(connection, scope, query.namespace)
            async with self._namespaces.engine(query.namespace) as engine:
                if note is not None:
                    await note.begin()
                call, headers = (
                    OperatorCall(engine, query, body, self, report, server_url(connection)),
                    connection.headers,
                )
                with in_trace_of(headers.getlist("traceparent"), headers.getlist("tracestate")):
                    answer = await operation.call(call)
        except asyncio.CancelledError:
            if note is not None:
                await note.end("cancelled", ENDED_BEFORE)
            raise
        except Exception as error:
            refusal = told(error)
            if note is not None:
                await note.end(refusal.code, audit.message_of(error, refusal.message))
            raise refusal from error
        if note is not None:
            await note.end("done", "", answer)
        return answer

    def _entry(
        self, operation: Operation, connection: HTTPConnection, query: InNamespace, body: Body
    ) -> AuditEntry:  # fmt: skip
        return AuditEntry(
            at=moment(self._namespaces.clock.now()),
            who=caller_of(connection),
            verb=operation.name,
            kind=cast(NoteKind, operation.kind),
            target=body.target(),
            namespace=query.namespace,
            arguments=body.arguments(),
        )


@define
class _AuditNote:
    """The audit of one change: its entry, and what stores that before the change begins."""

    audit: AuditLog
    entry: AuditEntry
    begun: asyncio.Future[State] | None = None

    async def begin(self) -> None:
        """Store what was asked for. Raises why the store did not take it: then nothing is changed."""
        self.begun = self.audit.begin(self.entry)
        await asyncio.shield(self.begun)

    async def end(self, outcome: str, message: str, answer: Any = None) -> None:
        """Store the outcome, whatever becomes of the request."""
        target = self.entry.target or str(getattr(answer, "id", ""))
        ended = evolve(self.entry, target=target, outcome=outcome, message=message, result=_result(answer, target))
        await asyncio.shield(self.audit.end(self.begun, ended))


def _result(answer: Any, target: str) -> dict[str, Any]:
    """What came of it: the id of another run, the runs of a schedule, or how many runs were changed."""
    found = {name: getattr(answer, name) for name in ("count", "runs", "ids") if hasattr(answer, name)}
    if left := getattr(answer, "skipped_count", 0):
        found["skipped"] = left
    made = getattr(answer, "id", target)
    return found | ({"id": made} if made != target else {})


def told(error: Exception) -> Refusal:
    """What a caller is told of an error: as `refusal_of`, but a call that is understood and cannot be done is a 409."""
    match error:
        case actions.UnfitInput():
            return Refusal(400, "invalid_argument", str(error))
        case UnknownFlow():
            return Refusal(404, "not_found", str(error))
        case RunExists():
            return Refusal(409, "already_exists", str(error))
    refusal = refusal_of(error)
    if refusal.status == 400 and isinstance(error, StepflowError) and not isinstance(error, StoreError):
        return Refusal(409, "failed_precondition", refusal.message)
    return refusal
