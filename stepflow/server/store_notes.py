"""StoreNotes: what a person changes in the store of this server by the command line, in the audit of the server.

Such a change is reads and commits of the driver's protocol, which do not tell what they are for. So the command line tells it before it begins,
and how it ended afterwards. Who it was, where and when the server knows itself; the rest is what the caller says, so that `via` is `cli`.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, cast, get_args

from attrs import evolve
from starlette.requests import Request
from starlette.routing import Route

from stepflow.drivers.http.codec import load, load_error, to_bytes
from stepflow.drivers.port.notes import BEGUN, NoteKind
from stepflow.engine.clock import Clock, moment
from stepflow.server.audit import AuditLog, message_of
from stepflow.server.errors import Refusal
from stepflow.server.guard import authorize, caller_of
from stepflow.server.operator_api.api import told
from stepflow.server.store_api import answered
from stepflow.wire.audit_entry import AuditEntry
from stepflow.wire.json_form import to_json_value

ID = re.compile(r"[0-9a-f]{32}")  # which the caller chooses, so that a request that is sent again makes one entry
VERB = re.compile(r"[a-z_]{1,60}")
FACTS = {"who", "verb", "kind", "target", "outcome"}  # by which entries are found
LONGEST_PAGE = 1000  # entries
LARGEST = 1 << 20  # bytes of the arguments, or of the result
INTERRUPTED = "the command was interrupted: a part may be done"


class StoreNotes:
    """The calls of the command line that begin and end an entry, and read entries."""

    def __init__(self, audit: AuditLog, clock: Clock) -> None:
        self._audit, self._clock = audit, clock

    def routes(self) -> list[Route]:
        """A route for each call."""
        calls: dict[str, Callable[[Request, dict[str, Any]], Awaitable[Any]]]
        calls = {"begin_note": self._begin, "end_note": self._end, "list_notes": self._list}
        return [
            Route(f"/stepflow.v1.Store/{name}", partial(answered, call), methods=["POST"])
            for name, call in calls.items()
        ]

    async def _begin(self, request: Request, given: Mapping[str, Any]) -> None:
        note_id, namespace = _text(given, "id", ID), load(given.get("namespace"), str)
        kind, target = given.get("kind"), load(given.get("target"), str)
        if kind not in get_args(NoteKind):
            raise _wrong("kind", kind)
        entry = AuditEntry(
            at=moment(self._clock.now()),
            who=caller_of(request),
            verb=_text(given, "verb", VERB),
            kind=cast(NoteKind, kind),
            target=target,
            namespace=namespace,
            via="cli",
            arguments=_small(given, "arguments"),
        )
        try:
            authorize(request, "operate", namespace)
        except Refusal as refusal:
            await self._audit.end(None, evolve(entry, outcome=refusal.code, message=refusal.message))
            raise
        await self._audit.begin_as(note_id, entry)

    async def _end(self, request: Request, given: Mapping[str, Any]) -> None:
        note_id, result = _text(given, "id", ID), dict(_small(given, "result"))
        state, entry = await self._audit.find(note_id)
        if state is None or entry is None or (entry.via, entry.who) != ("cli", caller_of(request)):
            raise Refusal(404, "not_found", f"the audit has no entry {note_id} of this token")
        if entry.outcome != BEGUN:
            return  # the request was sent again
        authorize(request, "operate", entry.namespace)
        target = entry.target or str(result.get("id", ""))
        if result.get("id") == target:
            del result["id"]
        outcome, message = _outcome(given)
        await self._audit.replace(state, evolve(entry, target=target, outcome=outcome, message=message, result=result))

    async def _list(self, request: Request, given: Mapping[str, Any]) -> Any:
        namespace, limit = load(given.get("namespace"), str), load(given.get("limit"), int)
        facts, cursor = _small(given, "facts"), load(given.get("cursor"), str | None)
        if not (facts.keys() <= FACTS and all(isinstance(one, str) for one in facts.values())):
            raise _wrong("facts", facts)
        if not 1 <= limit <= LONGEST_PAGE:
            raise _wrong("limit", limit)
        authorize(request, "read", namespace)
        page = await self._audit.read({**facts, "namespace": namespace}, limit, cursor)
        return {"entries": to_json_value(list(page)), "next": page.next}


def _outcome(given: Mapping[str, Any]) -> tuple[str, str]:
    """The outcome, and the message of a refusal, as they are in the entries of the operator's API."""
    if given.get("interrupted") is True:
        return "cancelled", INTERRUPTED
    if given.get("error") is None:
        return "done", ""
    if not isinstance(given["error"], Mapping):
        raise _wrong("error", given["error"])
    error = load_error(given["error"])
    refusal = told(error)
    return refusal.code, message_of(error, refusal.message)


def _text(given: Mapping[str, Any], name: str, pattern: re.Pattern[str]) -> str:
    text = given.get(name)
    if not isinstance(text, str) or not pattern.fullmatch(text):
        raise _wrong(name, text)
    return text


def _small(given: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = given.get(name)
    if not isinstance(value, dict) or len(to_bytes(value)) > LARGEST:
        raise _wrong(name, value)
    return value


def _wrong(name: str, value: Any) -> Refusal:
    return Refusal(400, "invalid_argument", f"{name} {value!r:.80} of a note for the audit cannot be meant")
