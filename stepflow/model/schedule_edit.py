"""schedule_edit: changes of schedules that came with a caller's transaction: kept beside the record until that is stored anew.

A store that applies such a change does not interpret the record. So it puts the text of the change
behind it, and says that a worker shall look at the schedule now. Each reader applies the changes in their order, and the next one
that stores the record leaves them out.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from attrs import evolve

from stepflow.errors import CodecError
from stepflow.model.codec import SEALED
from stepflow.model.schedule import ScheduleRecord, dump_schedule, parse_schedule

WANTED = (
    "flow", "to", "notes", "limit", "exchange", "input_hash", "cron", "every", "tz", "overlap", "catch_up", "jitter", "labels",
    "priority", "run_timeout",
)  # fmt: skip
"""The fields of a record that the caller of `engine.schedule` decides."""
DAMAGED = ValueError, TypeError, KeyError, AttributeError, AssertionError, RecursionError
"""What is raised at a text that is not the stored form of a schedule."""
VALUES = ("exchange", "input_hash")  # the fields that payload stages seal
_BEGIN, _BEGIN_EDIT = '{"format":', '{"verb":"'  # of a record, of a change


def put(wanted: ScheduleRecord, at: int) -> str:
    """The text of a change: make the schedule, or let it be like this one."""
    return json.dumps({"verb": "put", "at": at, "record": dump_schedule(wanted)}, separators=(",", ":"))


def pause(at: int) -> str:
    """No tick starts a run any more."""
    return json.dumps({"verb": "pause", "at": at}, separators=(",", ":"))


def resume(at: int) -> str:
    """Go on with the first tick after that time."""
    return json.dumps({"verb": "resume", "at": at}, separators=(",", ":"))


def started(run_id: str, at: int) -> str:
    """This run was started by hand."""
    return json.dumps({"verb": "started", "at": at, "run": run_id}, separators=(",", ":"))


def merged(wanted: ScheduleRecord, known: ScheduleRecord | None, now: int) -> ScheduleRecord:
    """The schedule that is there, as it is wanted now; it keeps a pause, queued ticks, and its next tick if its ticks stay the same."""
    if known is None:
        return evolve(wanted, tick=wanted.times.after(now))
    found = evolve(known, **{name: getattr(wanted, name) for name in WANTED})
    return found if wanted.timing == known.timing else evolve(found, tick=found.times.after(now))


def resumed(record: ScheduleRecord, now: int) -> ScheduleRecord:
    """A paused schedule goes on with the first tick after now."""
    return evolve(record, paused=False, tick=record.times.after(now)) if record.paused else record


def with_edit(body: str | None, edit: str) -> str:
    """The stored form of a schedule (None: there is none) with one more change."""
    return _stack([*(parts_of(body) if body is not None else [None]), edit])


def parts_of(body: str) -> list[str | None]:
    """The stored record, None if it is made by the first change, and the texts of the changes after it."""
    parts: list[str | None] = json.loads(body) if body[:1] == "[" else [body]
    return parts


def each_part(body: str, fn: Callable[[str], str]) -> str:
    """The stored form in which `fn` replaced each part."""
    parts = [None if part is None else fn(part) for part in parts_of(body)]
    return parts[0] if len(parts) == 1 and parts[0] is not None else _stack(parts)


def each_value(body: str, fn: Callable[[str], str]) -> str:
    """The stored form in which `fn` replaced the values that runs are started with; all else stays readable without the keys. Of a body without them all is replaced."""
    return each_part(body, lambda part: part if part[:1] == SEALED else _with_values(part, fn))


def _with_values(text: str, fn: Callable[[str], str]) -> str:
    raw = json.loads(text) if text.startswith((_BEGIN, _BEGIN_EDIT)) else {}
    if "format" in raw:
        raw |= {name: fn(raw[name]) for name in VALUES if name in raw}
    elif "record" in raw:
        raw["record"] = _with_values(raw["record"], fn)
    elif "verb" not in raw:
        return fn(text)
    return json.dumps(raw, separators=(",", ":"))


def read_schedule(body: str) -> ScheduleRecord:
    """The record of a stored form, with its changes. Raises StepflowError for one of a newer version of the library, CodecError for a damaged one."""
    try:
        first, *edits = parts_of(body)
        record = None if first is None else parse_schedule(first)
        for edit in edits:
            assert edit is not None
            record = _edited(record, edit)
        assert record is not None
    except DAMAGED as error:
        raise CodecError(f"its stored form is damaged: {type(error).__name__}: {error}") from error
    return record


def _stack(parts: list[str | None]) -> str:
    return json.dumps(parts, ensure_ascii=False, separators=(",", ":"))


def _edited(record: ScheduleRecord | None, text: str) -> ScheduleRecord:
    raw = json.loads(text)
    verb, at = raw["verb"], raw["at"]
    if verb == "put":
        return merged(parse_schedule(raw["record"]), record, at)
    assert record is not None, "only put makes a schedule"
    if verb == "pause":
        return evolve(record, paused=True)
    return resumed(record, at) if verb == "resume" else record.started(raw["run"])
