"""Checks what callers hand over, without an engine: ids, labels, annotations, and the arguments of commands."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from stepflow.errors import StepflowError
from stepflow.model.ctx import StateCtx
from stepflow.model.family import RESERVED, reserved

MAX_PRIORITY = 2**31 - 1
MAX_LIMIT = 2**31 - 2  # one more still fits every store
MAX_NUMBER = 2**63 - 1  # of revisions and offsets, in every store
EVENT_BYTES = 500  # of the name of an event
TOPIC_BYTES = 400  # it is a part of the names of labels and events
FAR_S = 1e11  # some thousand years, in seconds


def checked_id(run_id: Any) -> str:
    """A run's id."""
    if not isinstance(run_id, str) or not run_id or len(run_id) > 512 or "\0" in run_id:
        raise StepflowError(f"id={run_id!r:.80}: give a non-empty text of at most 512 characters without NUL")
    return checked_utf8("id", run_id)


def checked_labels(labels: Any) -> dict[str, str]:
    """Labels as a dict of their own."""
    if labels is not None and not isinstance(labels, Mapping):
        raise StepflowError(f'labels={labels!r:.80}: give a dict of texts, e.g. {{"tenant": "a"}}')
    checked = dict(labels or {})
    if _plain_texts(checked) and "" not in checked:
        return checked
    for key, value in checked.items():
        if not isinstance(key, str) or not isinstance(value, str) or not key:
            raise StepflowError(f"labels: {key!r:.80}: {value!r:.80}: keys and values must be texts, keys not empty")
        checked_utf8("labels", key + value)
    return checked


def checked_own_labels(labels: Any) -> dict[str, str]:
    """Labels that a caller gives to a run."""
    return relabelled(labels, {})


def relabelled(labels: Any, before: Mapping[str, str]) -> dict[str, str]:
    """The new labels of a run: those that only the library gives stay as they are."""
    checked = checked_labels(labels)
    kept = reserved(before) if before else {}
    for name, value in reserved(checked).items() if checked else ():
        if kept.get(name) != value:
            raise StepflowError(
                f"labels: {name!r:.80}: names that begin with {RESERVED!r} are given by stepflow: use another name"
            )
    return checked | kept if kept else checked


def checked_priority(priority: Any) -> int:
    """A priority."""
    if isinstance(priority, bool) or not isinstance(priority, int) or abs(priority) > MAX_PRIORITY:
        raise StepflowError(f"priority={priority!r:.80}: give a whole number, low ones go first; 0 is usual")
    return priority


def _plain_texts(mapping: Mapping[Any, Any]) -> bool:
    """Whether all keys and values are ASCII texts: then no look at each of them is needed."""
    try:
        return "".join([*mapping, *mapping.values()]).isascii()
    except TypeError:
        return False


def checked_notes(annotations: Any) -> None:
    """Annotations: a mapping of texts to texts."""
    if type(annotations) is not dict and not isinstance(annotations, Mapping):
        raise StepflowError(f"annotations={annotations!r:.80}: give a dict of texts")
    if _plain_texts(annotations):
        return
    for key, value in annotations.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise StepflowError(f"annotations: {key!r:.80}: {value!r:.80}: keys and values must be texts, e.g. str(3)")
        checked_utf8("annotations", key + value)


def checked_limit(limit: Any) -> int:
    """How many things are asked for; more than any store holds is as good as that."""
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise StepflowError(f"limit={limit!r:.80}: give a whole number from 1 on, e.g. 50")
    return min(limit, MAX_LIMIT)


def checked_target(to: Any, verb: str, more: str = "") -> str:
    """The name of the flow that a State is to go to."""
    if not isinstance(to, str):
        raise StepflowError(f"{verb}(ctx, {to!r:.80}{more}): name the flow to go to by its text, e.g. {to!s:.80}.name")
    if not to:
        nowhere = "; park(ctx) goes nowhere" if verb == "transit" else ""
        raise StepflowError(f"flow id empty: {verb}(ctx, to{more}) needs the flow to go to{nowhere}")
    try:
        return _checked_name(to)
    except StepflowError as error:
        raise StepflowError(f"{verb}(ctx, to{more}): the flow's name: {error}") from None


@lru_cache(maxsize=1024)
def _checked_name(to: str) -> str:
    return checked_id(to)


def checked_ctx(ctx: Any) -> StateCtx:
    """The working copy that a command names."""
    if not isinstance(ctx, StateCtx):
        raise StepflowError(f"{ctx!r:.80} is no StateCtx: commands work on StateCtx(id) or engine.get_state(id)")
    return ctx


def checked_when(when: Any) -> float | timedelta | datetime:
    """When a delay is over."""
    if isinstance(when, timedelta) or (isinstance(when, datetime) and when.tzinfo is not None):
        return when
    if isinstance(when, int | float) and not isinstance(when, bool) and abs(when) < FAR_S:
        return when
    raise StepflowError(f"delay until {when!r:.80}: give seconds, a timedelta or an aware datetime")


def event_problem(name: str) -> str:
    """Why no event can have this name, which is not empty, and what to do; empty if one can."""
    if name.startswith(RESERVED):
        return f"names that begin with {RESERVED!r} are stepflow's: use another name"
    return _name_problem(name, EVENT_BYTES)


def topic_problem(name: str) -> str:
    """Why no topic can have this name, which is not empty, and what to do; empty if one can."""
    if "\0" in name:
        return "name the topic, a non-empty text without NUL"
    return _name_problem(name, TOPIC_BYTES)


def _name_problem(name: str, most: int) -> str:
    try:
        checked_size("name", checked_utf8("name", name), most)
    except StepflowError as error:
        return str(error)
    return ""


def checked_alias(alias: Any) -> str:
    """The name of a blob."""
    if not isinstance(alias, str):
        raise StepflowError(f"alias={alias!r:.80}: give the name under which the data is known to the State, a text")
    if not alias:
        raise StepflowError("alias is empty: give the name under which the data is known to the State")
    return alias


def checked_annotation(name: Any) -> str:
    """The name of the annotation that holds a stacked State."""
    if not isinstance(name, str):
        raise StepflowError(f"stack annotation {name!r:.80}: give the name of an annotation, a text")
    if not name:
        raise StepflowError("stack annotation name empty: name the annotation that shall hold the State")
    return name


def checked_moment(at: Any) -> datetime:
    """A point in time."""
    if not isinstance(at, datetime) or at.tzinfo is None:
        wrong = "it has no time zone: " if isinstance(at, datetime) else ""
        raise StepflowError(
            f"at={at!r:.80}: {wrong}give an aware datetime, e.g. datetime.now(UTC) + timedelta(hours=1)"
        )
    return at


def checked_rev(rev: Any) -> int:
    """The revision of one State to read."""
    if isinstance(rev, bool) or not isinstance(rev, int) or not 0 <= rev <= MAX_NUMBER:
        raise StepflowError(f"rev must be >= 0, not {rev!r:.80}: give a revision, or 0 for the newest")
    return rev


def checked_since(rev: Any) -> int:
    """A revision to begin after; -1 is the newest."""
    if isinstance(rev, bool) or not isinstance(rev, int) or not -1 <= rev <= MAX_NUMBER:
        raise StepflowError(f"since_rev={rev!r:.80}: give a revision, 0 for the beginning or -1 for the newest")
    return rev


def checked_page(offset: Any, limit: Any) -> tuple[int, int]:
    """Where a page of delays begins, and its length; a length of 0 is the usual one."""
    for name, number in (("offset", offset), ("limit", limit)):
        if isinstance(number, bool) or not isinstance(number, int) or number < 0:
            raise StepflowError(f"{name}={number!r:.80}: give a whole number from 0 on")
    return min(offset, MAX_NUMBER), min(limit or 500, 2**31 - 1)


def checked_utf8(what: str, text: str) -> str:
    """A text that has a form in UTF-8."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise StepflowError(
                f"{what}={text!r:.80}: half of a surrogate pair cannot be encoded as UTF-8: decode it with the right encoding"
            ) from None
    return text


def checked_size(what: str, text: str, most: int) -> str:
    """A text of at most `most` bytes as stores count them."""
    if len(text) * 4 > most and (size := len(text.encode()) + text.count("\0") + text.count("\1")) > most:
        raise StepflowError(f"{what}={text!r:.80} has {size} bytes: give at most {most}, for all stores")
    return text
