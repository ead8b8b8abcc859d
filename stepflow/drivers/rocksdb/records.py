"""Records: how values are stored, each with a format number in front."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from attrs import define

from stepflow.drivers.port.commit import Created, Event, Owner
from stepflow.drivers.port.stored import damage, read_state
from stepflow.errors import SchemaMismatch
from stepflow.model.lifecycle import QueueRow
from stepflow.model.state import DAMAGED, EMPTY, State, Transition, Unreadable, encode_map, new_tuple

FORMAT = 1
UNREADABLE = SchemaMismatch, *DAMAGED
"""What is raised at a record of another form, or of a newer version."""
UNFINISHED = QueueRow._fields.index("unfinished")
_BEGIN = f"{FORMAT}\0"  # of a row of the history

_quote = json.encoder.encode_basestring_ascii  # formatting by hand takes a third of the time of an encoder
_parse = json.JSONDecoder().raw_decode  # the records are ours: there is no white space to be skipped
_dump = json.JSONEncoder(separators=(",", ":")).encode


@define
class RunRecord:
    """What a commit must know of a run. An overlay changes a `copy`; a step changes the cached one itself.

    `code` is the id as part of a key, `exchange_rev` the revision that holds the exchange's text, `pending` the number
    of events that no wait took yet, `oldest` a seq that none of them is below; `journaled`: it has journal rows.
    `unread`: its record cannot be read, and is replaced only together with a new revision.
    """

    id: str
    code: bytes
    created: Created
    rev: int
    transition: Transition
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    committed_at: int
    exchange_rev: int
    priority: int = 0
    pending: int = 0
    oldest: int = 0
    limits: str = ""
    journaled: bool = False
    unread: bool = False

    def state(self) -> State:
        """The State of the newest revision."""
        maps = self.labels, self.annotations
        return new_tuple(State, (self.id, self.rev, self.transition, *maps, self.committed_at))

    def copy(self) -> RunRecord:
        """A copy to be changed."""
        parts = (self.transition, self.labels, self.annotations, self.committed_at, self.exchange_rev)
        more = (self.priority, self.pending, self.oldest, self.limits, self.journaled)
        return RunRecord(self.id, self.code, self.created, self.rev, *parts, *more, unread=self.unread)

    def moved(self, state: State, rev: int, now: int) -> None:
        """Take over the position, labels and annotations of `state` as revision `rev`."""
        self.rev, self.transition, self.committed_at, self.unread = rev, state.transition, now, False
        if state.labels is not self.labels:  # a copy: later changes by the caller do not reach the store
            self.labels = dict(state.labels)
        if state.annotations is not self.annotations:
            self.annotations = dict(state.annotations)


def dump(*values: Any) -> bytes:
    """A record of JSON values."""
    return _dump((FORMAT, *values)).encode()


def parse(record: bytes) -> list[Any]:
    """The values of a record that `dump` made. Raises SchemaMismatch for one of a later format."""
    values: list[Any] = _parse(record.decode())[0]
    if values[0] != FORMAT:
        raise _newer(values[0])
    return values[1:]


def _newer(found: object) -> SchemaMismatch:
    return SchemaMismatch(
        f"a record has format {found!r}, this version of stepflow knows {FORMAT}: update stepflow here"
    )


def fixed(run: RunRecord) -> tuple[Created, int, int, int, str, bool, bool]:
    """What is stored once per run, beside its history, and whether it could be read."""
    return run.created, run.priority, run.pending, run.oldest, run.limits, run.journaled, run.unread


def dump_run(run: RunRecord) -> bytes:
    """The record of what is `fixed`."""
    created = run.created
    last = f",{_quote(run.limits)},true" if run.journaled else _last(run.limits)
    return (
        f"[{FORMAT},{_quote(created.flow)},{_quote(created.input_hash)},{created.created_at},"
        f"{run.priority},{run.pending},{run.oldest}{last}]"
    ).encode()


def _last(limits: str) -> str:
    """The end of a record: limits are there only when there are any."""
    return f",{_quote(limits)}" if limits else ""


def parse_run(record: bytes, run_id: str, code: bytes, rev: int, revision: bytes) -> RunRecord:
    """The run of a record, and of that of its newest revision; its transition is Unreadable if one of them cannot be read."""
    state, exchange_rev, _text = parse_revision(revision, run_id, rev)
    transition, unread = state.transition, False
    try:
        flow, input_hash, created_at, priority, pending, oldest, *more = parse(record)
        more += ("", False)[len(more) :]
        limits, journaled = more
        fields = (priority + 0, pending + 0, oldest + 0, limits + "", journaled)
        created = Created(flow + "", input_hash + "", created_at + 0)
    except UNREADABLE as error:
        created, fields, unread = Created("", "", state.committed_at), (0, 0, 0, "", False), True
        problem = "; ".join(filter(None, (transition.problem, damage("record", error))))
        transition = Unreadable(transition.to, transition.annotations, stored=transition.text, problem=problem)
    parts = (transition, state.labels, state.annotations, state.committed_at, exchange_rev)
    return RunRecord(run_id, code, created, rev, *parts, *fields, unread=unread)


def dump_revision(prev: int, exchange_rev: int, position: str, exchange: str) -> bytes:
    """A row of the history: texts that hold no NUL, and the exchange last, which may."""
    record = f"{_BEGIN}{prev}\0{exchange_rev}\0{position}\0{exchange}"
    try:
        return record.encode()
    except UnicodeEncodeError:
        return record.encode("utf-8", "surrogatepass")


def dump_position(
    now: int, transition: Transition, labels: Mapping[str, str] = EMPTY, annotations: Mapping[str, str] = EMPTY
) -> str:
    """The part of such a row that many runs share."""
    maps = f"{encode_map(labels)}\0{encode_map(annotations)}" if labels or annotations else "{}\0{}"
    return f"{now}\0{transition.text}\0{maps}"


def parse_revision(record: bytes, run_id: str, rev: int) -> tuple[State, int, str]:
    """A State, the revision that holds its exchange, and the exchange's text if it is that one.

    Of a record that cannot be read the transition is Unreadable, and the text is empty.
    """
    try:
        return _parsed_revision(record, run_id, rev)
    except UNREADABLE as error:
        return State(run_id, rev, Unreadable(problem=damage("revision", error))), rev, ""


def _parsed_revision(record: bytes, run_id: str, rev: int) -> tuple[State, int, str]:
    fields = record.decode("utf-8", "surrogatepass").split("\0", 7)
    if fields[0] != str(FORMAT):
        raise _newer(fields[0])
    _format, _prev, exchange_rev, at, transition, labels, annotations, exchange = fields
    state = read_state(run_id, rev, transition, labels, annotations, int(at))
    return state, int(exchange_rev), exchange


def exchange_of(record: bytes) -> str:
    """The exchange's text of a revision that holds it; empty if the record cannot be read."""
    fields = record.split(b"\0", 7)
    if fields[0] != b"%d" % FORMAT or len(fields) < 8:
        return ""
    return fields[7].decode("utf-8", "surrogatepass")


def dump_row(row: QueueRow) -> bytes:
    """A row of the ready queue."""
    flow, due, owner, epoch, claim_rev, priority, crashes, cancel, blocked, blocked_by, limits, unfinished, paused = row
    last = f",{_quote(limits)},{unfinished}" if unfinished or crashes or paused else _last(limits)
    why = f"{_quote(blocked)},{_quote(blocked_by)}" if blocked or blocked_by else '"",""'
    return (
        f"[{FORMAT},{_quote(flow)},{due},{_quote(owner)},{epoch},{claim_rev},{priority},"
        f"{crashes},{'true' if cancel else 'false'},{why}{last}{',true' if paused else ''}]"
    ).encode()


def parse_row(record: bytes) -> QueueRow:
    """The queue row of a record; one of an older version counts no unfinished attempts beside the crashes. Raises one of UNREADABLE."""
    row = QueueRow(*(values := parse(record)))
    _numbers = row.due + row.epoch + row.claim_rev + row.priority + row.crashes + row.unfinished  # raises for texts
    _texts = row.flow + row.owner + row.blocked + row.blocked_by + row.limits
    return row if len(values) > UNFINISHED or not row.crashes else row._replace(unfinished=row.crashes)


def dump_event(event: Event) -> bytes:
    """An event; its run and seq are in the key."""
    last = (event.traceparent,) if event.traceparent else ()
    return dump(event.name, event.id, event.payload, event.published_at, *last)


def parse_event(record: bytes, run_id: str, seq: int) -> Event:
    """The event of a record."""
    name, event_id, payload, published_at, *last = parse(record)
    return Event(run_id, name, event_id, payload, published_at, seq, *last)


def dump_owner(owner: Owner) -> bytes:
    """An owner; its id is in the key, its beat is not written: no other process can read it while the owner lives."""
    return dump(owner.host, owner.pid)


def parse_owner(record: bytes, owner_id: str) -> Owner:
    """The owner of a record."""
    return Owner(owner_id, *parse(record))
