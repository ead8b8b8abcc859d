"""timeline: what happened to a run, in the order of time: its revisions and the calls in its journal, page by page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from attrs import Factory, define, evolve, frozen

from stepflow.drivers.port.journal import JournalQuery, JournalRow
from stepflow.drivers.port.queries import HistoryQuery, Revision
from stepflow.engine.client.filters import Page
from stepflow.engine.client.info import attempt_of, awaited, error_of, position_of
from stepflow.engine.clock import moment, utc_text
from stepflow.engine.store_reader import StoreReader
from stepflow.errors import NotFound, error_line
from stepflow.model.codec import SEALED, UNREADABLE
from stepflow.model.state import FAILED_CALL, NOTE, POSITION, STYLE, WAITING, Transition
from stepflow.replay.branches import MARK
from stepflow.replay.journal import CANCELLED, OPTIONAL, is_cancel

LINE = 200  # characters of a value that is shown
LONGEST = 1 << 20  # characters of an error that is read for its message
REVISION = "revision"
ATTEMPTS = ("attempt", "transaction_attempt")
LAST = (1 << 63) - 1
BEFORE, BEHIND = (-1, 0), (LAST, 1)


@frozen
class TimelineEntry:
    """A record of a run: a revision, which has `rev`, or the call of its journal that has the number `seq`.

    `at` is when it was recorded, None of a call that an older version recorded. `after` is the time since the record before it,
    behind a sleep since the end of that; it includes what the run waited for a worker, and of calls that were made side by side it is no
    duration. None: no record before it is known. `where` is the position of a revision, or the flow it goes to; of a call its key.
    `kind` is `"revision"`, or the kind of the call, `name` its function. `status` is that of a revision with which the run ended. `attempt` is the
    number of the try that comes next, of a call that of the try that was recorded, as far as the revisions of the page tell.
    `text` is what a person did that made the revision (a redrive, a rewind, a fork, a move), what it waits for, how it failed, or the beginning of the value.
    """

    at: datetime | None
    after: timedelta | None
    where: str
    kind: str = REVISION
    rev: int | None = None
    seq: int | None = None
    position: list[str] = Factory(list)
    name: str = ""
    status: str = ""
    attempt: int = 1
    failed: bool = False
    text: str = ""


@define
class _TimedEntry:
    """An entry and its place: `time` orders the records of a page, `turn` those of all pages, `rank` those of one time.

    A call may have been recorded later than one behind it in the journal, since its row was replaced when it ended. Its turn is that
    of the one behind it at the latest, so that all calls of a page are behind those of the page that follows. So it is with revisions, which
    may have an earlier time than those before them: clocks are set back.
    """

    entry: TimelineEntry
    time: int
    turn: int
    rank: tuple[int, int]  # the number of a call, and whether a revision is before (-1) or behind (1) it
    awake: int = 0  # when the sleep ended that it begins


async def timeline(reader: StoreReader, run_id: str, limit: int, cursor: str | None) -> Page[TimelineEntry]:
    """The newest records of a run, or those before the cursor, newest first; none if there is no such run."""
    rev, seq = (None, None) if cursor is None else _parsed(cursor)
    until = None if rev is None else rev - 1
    query = HistoryQuery(run_id, limit=limit + 1, last=True, until_rev=until, exchange=False)
    revisions: Sequence[Revision] = await reader.read(query)
    rows: Sequence[JournalRow]
    (rows,) = await reader.read(JournalQuery((run_id,), limit + 1, last=True, before=seq))
    seqs = {row.key: _place(row) for row in rows}
    for key in _unknown(revisions, rows):  # of a page before or behind this one
        seqs |= {row.key: _place(row) for row in (await reader.read(JournalQuery((run_id,), key=key)))[0]}
    found = _revisions(revisions, seqs, whole=len(revisions) <= limit, newest=cursor is None)
    found += _calls(rows, found[0].time if found else 0)
    found.sort(key=lambda one: (one.turn, one.rank))
    before, page = found[:-limit], found[-limit:]
    shown = _in_attempts(_after(before, sorted(page, key=lambda one: (one.time, one.rank))))
    if not before:
        return Page(reversed(shown))
    revs, calls = [one.rev for one in shown if one.rev], [one.seq for one in shown if one.seq]
    return Page(reversed(shown), f"{min(revs, default=rev or LAST)}-{min(calls, default=seq or LAST)}")


def _parsed(cursor: str) -> tuple[int, int]:
    """The revision and the number of a call before which a page begins."""
    rev, dash, seq = cursor.partition("-") if isinstance(cursor, str) else ("", "", "")
    are_numbers = all(one.isascii() and one.isdecimal() and len(one) <= len(str(LAST)) for one in (rev, seq))
    if not (dash and are_numbers and max(int(rev), int(seq)) <= LAST):
        raise NotFound(f"cursor={cursor!r:.80}: give the `next` of a page of timeline()")
    return int(rev), int(seq)


def _unknown(revisions: Sequence[Revision], rows: Sequence[JournalRow]) -> set[str]:
    """The keys of calls that are not among the rows, of revisions that have the time of one of these."""
    times, known = {row.at for row in rows}, {row.key for row in rows}
    tied = [one.state.transition for one in revisions if one.state.committed_at in times]
    return {key for transition in tied if STYLE in transition.annotations for key in _keys(transition)} - known


def _revisions(
    revisions: Sequence[Revision], seqs: Mapping[str, tuple[int, bool]], *, whole: bool, newest: bool
) -> list[_TimedEntry]:
    """The records of revisions, oldest first; of calls that were recorded at the same time, each is behind those that led to it.

    `seqs` has the numbers of calls by key, and which were recorded with a revision.
    """
    found = list[_TimedEntry]()
    for number, revision in enumerate(revisions):
        state, transition = revision.state, revision.state.transition
        last = newest and number == len(revisions) - 1
        rank = BEFORE if whole and number == 0 else _rank(transition, seqs, last)
        position = position_of(transition)
        entry = TimelineEntry(
            moment(state.committed_at),
            None,
            next((text for text in position if not text.startswith("attempt:")), transition.to),
            rev=state.rev,
            position=position,
            status=transition.status,
            attempt=attempt_of(transition),
            failed=error_of(transition) is not None,
            text=_why(state.id, transition),
        )
        found.append(_TimedEntry(entry, state.committed_at, state.committed_at, rank))
    _in_turn(found)
    for number, one in enumerate(found):
        one.time = one.turn
        if number and found[number - 1].turn == one.turn:
            one.rank = max(one.rank, found[number - 1].rank)
    return found


def _rank(transition: Transition, seqs: Mapping[str, tuple[int, bool]], last: bool) -> tuple[int, int]:
    """Where a revision is among the calls of its time: before that of its position, which ended later, or behind one that was recorded with it.

    If no call is known, the `last` revision, an end, and that of a chain is behind all of them; another one led to them.
    """
    notes = transition.annotations
    if transition.status and last:
        return BEHIND
    known = [seqs[key] for key in _keys(transition) if key in seqs]
    if not known:
        return BEFORE if STYLE in notes and not transition.status and not last else BEHIND
    waits = WAITING in notes or bool(transition.status)  # else the wait has just ended
    return max((seq, 1 if paused or not waits else -1) for seq, paused in known)


def _keys(transition: Transition) -> list[str]:
    """The calls at which a workflow was at a revision; at its end that which failed."""
    notes = transition.annotations
    if FAILED_CALL in notes or transition.status:
        return [notes[FAILED_CALL]] if FAILED_CALL in notes else []
    return [text.partition(":")[2] for text in json.loads(notes.get(POSITION, "[]"))]


def _place(row: JournalRow) -> tuple[int, bool]:
    """The number of a call, and whether it was recorded with the revision at which the run began to sleep, to wait, or to back off."""
    return row.seq, row.kind.partition(MARK)[0].removesuffix(OPTIONAL) in ("sleep", "wait", *ATTEMPTS)


def _in_turn(records: Sequence[_TimedEntry]) -> None:
    """Let no record of a kind, oldest first, come behind a later one."""
    turn = records[-1].turn if records else 0
    for one in reversed(records):
        one.turn = turn = min(one.turn, turn)


def _why(run_id: str, transition: Transition) -> str:
    """What a person did, what a run waits for since this revision, or how the try before it failed."""
    waits = ", ".join(awaited(run_id, name) for name in transition.events) or (
        "its condition" if transition.polls else ""
    )
    error = error_of(transition)
    attempt = 0 if transition.status else attempt_of(transition)
    told = "" if error is None else error_line(error.type, error.message)[:LINE]
    tried = "" if attempt < 2 else f"attempt {attempt - 1} failed: " if told else f"attempt {attempt}"
    note = transition.annotations.get(NOTE, "")
    return "; ".join(filter(None, (note, f"waits for {waits}" if waits else "", f"{tried}{told}")))


def _calls(rows: Sequence[JournalRow], oldest: int) -> list[_TimedEntry]:
    """The records of calls, oldest first; one without a time is where the one before it is, else at the time `oldest`."""
    found: list[_TimedEntry] = []
    for row in rows:
        text, attempt = _told(row)
        kind = CANCELLED if is_cancel(row.kind) else row.kind.partition(MARK)[0].removesuffix(OPTIONAL)
        at = moment(row.at) if row.at else None
        failed = row.failed and kind != CANCELLED  # that row has no error
        entry = TimelineEntry(
            at, None, row.key, kind, seq=row.seq, name=row.name, attempt=attempt, failed=failed, text=text
        )
        oldest = row.at or oldest
        awake = int(row.text) if kind == "sleep" and row.text.isdecimal() else 0
        found.append(_TimedEntry(entry, oldest, oldest, (row.seq, 0), awake))
    _in_turn(found)
    return found


def _second(at: int) -> str:
    return utc_text(moment(at).replace(microsecond=0))


def _told(row: JournalRow) -> tuple[str, int]:
    """The beginning of a recorded value, of an error its message, of a sleep or a wait its end, of other times those; and the number of the try, if it tells."""
    kind, text = row.kind.partition(MARK)[0].removesuffix(OPTIONAL), row.text
    if is_cancel(kind) and text == "null":
        return "", 1
    if text[:1] == SEALED:
        return UNREADABLE, 1
    if kind in ("sleep", "wait") and text.isdecimal():
        return f"until {_second(int(text))}", 1
    if kind == "now" and text.isdecimal():
        return utc_text(moment(int(text))), 1
    if kind == "choice" and isinstance(moments := _value(text), list):  # of the ways of a first_of, in their order
        return ", ".join("-" if at is None else _second(at) for at in moments)[:LINE], 1
    if kind == "wait" and text == "null":
        return "without a time limit", 1
    value = _value(text) if row.failed or kind in ATTEMPTS else None
    if kind in ATTEMPTS and isinstance(value, dict) and "error" in value:
        again = _second(value["due"])
        return f"{_message(_value(value['error'])) or 'failed'}; next try at {again}", value["attempt"]
    return _message(value) or (text if len(text) <= LINE else f"{text[:LINE]}…"), 1


def _value(text: str) -> Any:
    try:
        return json.loads(text) if len(text) <= LONGEST else None
    except ValueError:
        return None


def _message(error: Any) -> str:
    """The type and the message of a stored error."""
    found = isinstance(error, dict) and "message" in error
    return error_line(str(error.get("type")), str(error["message"]))[:LINE] if found else ""


def _after(before: Sequence[_TimedEntry], page: Sequence[_TimedEntry]) -> list[TimelineEntry]:
    """The entries of a page with the time since the record before each."""
    last = max(before, key=lambda one: one.time, default=None)
    found, awake = list[TimelineEntry](), 0 if last is None else last.awake
    for one in page:
        if last is None or one.entry.at is None or last.entry.at is None:
            found.append(one.entry)
        else:
            begin = awake if last.time <= awake <= one.time else last.time
            found.append(evolve(one.entry, after=timedelta(microseconds=one.time - begin)))
        last, awake = one, awake if one.entry.rev else one.awake
    return found


def _in_attempts(entries: Sequence[TimelineEntry]) -> list[TimelineEntry]:
    """The entries, oldest first; a call that was tried again, as revisions before it tell, gets the number of the try."""
    tries: dict[str, int] = {}
    found = []
    for one in entries:
        if one.rev is not None:
            tries.update(dict.fromkeys(one.position, one.attempt))
        elif one.kind not in ATTEMPTS:
            one = evolve(one, attempt=tries.get(f"step:{one.where}", 1))
        found.append(one)
    return found
