"""State and Transition: the durable record of a run at one revision."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

from attrs import field, frozen

new_tuple = tuple.__new__  # makes a NamedTuple of all its fields, four times as fast as calling its class

EMPTY: Mapping[str, str] = MappingProxyType({})

# Transition annotations that the library writes. Users' own annotations may have any other name.
POSITION = "stepflow.state"  # JSON list of strings, the position of a step flow
STATUS = "stepflow.status"  # "completed" | "failed" | "cancelled" when the run has ended
ERROR = "stepflow.error"  # JSON {"type", "message", "traceback"} of the error that led here; of a step of a chain, or a call of a workflow, also "step"
WAITING = "stepflow.waiting"  # "event:<name>" | "poll" | "delay": the reason why the run waits at this position
ALSO = "stepflow.also"  # JSON list of the names of the other events that end the wait, besides that of WAITING
PAYLOADS = "stepflow.payloads"  # JSON {name of an event: JSON schema}: the payloads that end the wait, as far as their types tell
DEADLINE = "stepflow.deadline"  # integer microseconds UTC: when the wait at this position times out
ATTEMPT = "stepflow.attempt"  # decimal: number of the next attempt by the run's own retry policy (from 2 on)
STYLE = "stepflow.style"  # "workflow": a cancel lets the run undo what it did, unless it has done nothing yet
CANCEL = "stepflow.cancel"  # integer microseconds UTC: when the cancel of a workflow was requested that it carries out
TIMED_OUT = "stepflow.timed_out"  # the run ends, or has ended, since its time limit is over; HEARD: a workflow may have undone what it did
HEARD = "heard"
FAILED_CALL = "stepflow.failed_call"  # key of the journalled failure that ended a run: the call is made again when the run goes on
RESOLVED = (
    "stepflow.resolved"  # JSON {"step", "value", "error"}: how a call of unknown outcome ended, as a caller found out
)
UNFINISHED = "stepflow.unfinished"  # decimal: attempts of the step that died or were interrupted before the failure that led here
CHILDREN = "stepflow.children"  # "1": the run may have children, although its journal names none; TOLD at its failure
TOLD = "told"  # the children that were cancelled because the run failed have an event that says so
PASSES = "stepflow.state_passes"  # "1" or "0.2": how often each loop around the position of a chain has begun anew, the outermost first; zeros at the end are left out
RENEWED = "stepflow.renewed"  # decimal: how often a workflow has begun anew; then it may have done something although its journal is empty
TOPICS = "stepflow.topics"  # JSON {beginning of ids: [microseconds UTC, [ids]]}: the last messages that a run took before it began anew
REWOUND = "stepflow.rewound"  # decimal: the revision from which a workflow was rewound last; part of the ids of later children
UNWANTED = "stepflow.unwanted"  # JSON list of ids: the children that a rewind left behind, to be cancelled before the run goes on
ONCE_SINCE = "stepflow.once_since"  # decimal: the revision at which a flow function made the first of its calls that are made once; part of their keys
WOKEN = "stepflow.woken"  # integer microseconds UTC: when the sleep of a workflow would have ended that a caller ended before its time
NEXT_ATTEMPT = "stepflow.next_attempt"  # decimal: that of the innermost retry group, where its position names only groups around it
NOTE = "stepflow.note"  # what a person did that made this revision, e.g. "redriven"; no other revision keeps it

# Of what stands for labels or annotations that cannot be read: their stored text, which later revisions keep.
UNREAD = "stepflow.unreadable"

# Annotations of States, named by W3C: the trace to which a run belongs. They stay with the run, unlike those of transitions.
TRACEPARENT = "traceparent"  # "00-<32 hex digits of the trace>-<16 of a span>-<flags>"


def trace_of(annotations: Mapping[str, str]) -> str:
    """The id of the trace to which a run belongs, 32 hex digits; empty if it has none."""
    parts = annotations.get(TRACEPARENT, "").split("-")
    return parts[1] if len(parts) >= 4 and len(parts[1]) == 32 else ""


DAMAGED = ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError
"""What is raised at a stored text of another form."""

_OF_WAITS = frozenset({WAITING, ALSO, PAYLOADS, DEADLINE, NOTE, WOKEN})

_quoted = json.encoder.encode_basestring


def encode_map(mapping: Mapping[str, str]) -> str:
    """The canonical JSON text of a string map: keys sorted, no spaces, `{}` when empty."""
    if not mapping:
        return "{}"
    try:  # a third of the time that `dumps` takes for one or two entries
        return "{" + ",".join([f"{_quoted(key)}:{_quoted(mapping[key])}" for key in sorted(mapping)]) + "}"
    except TypeError:  # not all of them are texts
        return json.dumps(dict(mapping), sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def checked_map(found: Any) -> dict[str, str]:
    """The same if it is a map of texts; raises TypeError or AttributeError for anything else."""
    "".join(found.values())
    return found  # type: ignore[no-any-return]


def _check_texts(text: str) -> None:
    found = json.loads(text)
    if type(found) is not list:
        raise TypeError("it is no list")
    "".join(found)


def _check_map(text: str) -> None:
    json.loads(text).keys()


def _check_error(text: str) -> None:
    raw = json.loads(text)
    "".join([raw["type"], raw["message"], raw["traceback"], raw.get("step", "")])


def _check_status(text: str) -> None:
    if text not in ENDED:
        raise ValueError(f"a run cannot be {text!r:.80}")


ENDED = ("completed", "failed", "cancelled")
_FORMS: Mapping[str, Callable[[str], object]] = {
    **dict.fromkeys((POSITION, ALSO, UNWANTED), _check_texts),
    **dict.fromkeys((PAYLOADS, TOPICS), _check_map),
    **dict.fromkeys((DEADLINE, ATTEMPT, CANCEL, UNFINISHED, RENEWED, REWOUND, ONCE_SINCE, WOKEN, NEXT_ATTEMPT), int),
    ERROR: _check_error,
    STATUS: _check_status,
    PASSES: lambda text: [int(number) for number in text.split(".")],
}
"""What raises one of DAMAGED for a text that a note of the library cannot have."""


# Parts of nearly every transition of a chain, and the control characters that stand for them in the stored form: JSON escapes
# those, so none is in a text before. Never change one; a new part gets a new character, behind the others.
_SHORT = (
    ('{"annotations":{"stepflow.state":"[\\"', "\x03"),
    ('\\"]"},"to":"', "\x04"),
    ('\\"]","stepflow.status":"completed"},"to":""}', "\x05"),
    ("completed:", "\x06"),
)
ENDS = (STATUS, *[character for part, character in _SHORT if STATUS in part])
"""Parts of stored transitions: that of each which ends a run has one of them; another one may have, too, in a text of a user."""


def _shortened(text: str) -> str:
    for part, character in _SHORT:
        text = text.replace(part, character)
    return text


def lengthened(text: str) -> str:
    """The JSON of a stored transition."""
    for part, character in reversed(_SHORT):
        text = text.replace(character, part)
    return text


_derived = partial(field, init=False, eq=False, repr=False)


@frozen
class Transition:
    """The next flow of a State: `to` names it, empty means parked. A new transition replaces the last one completely.

    Transitions are immutable and shared between runs, so the derived fields are computed once. `text` is the stored form,
    canonical JSON `{"annotations":{…},"to":"…"}` in which one character stands for each of a few frequent parts. `status` is `completed`, `failed` or `cancelled` if the run ended with
    this transition, else empty; `events` names the events that the run waits for; `polls` is true if it waits for an
    event or polls a condition, `plain` if it does neither and does not end the run.
    """

    to: str = ""
    annotations: Mapping[str, str] = EMPTY
    text: str = _derived()
    status: str = _derived()
    events: tuple[str, ...] = _derived()
    polls: bool = _derived()
    plain: bool = _derived()

    problem: ClassVar[str] = ""
    """Why the State cannot be read from which this stands (`Unreadable`)."""

    @text.default
    def _text(self) -> str:
        return _shortened(
            f'{{"annotations":{encode_map(self.annotations)},"to":{json.dumps(self.to, ensure_ascii=False)}}}'
        )

    @status.default
    def _status(self) -> str:
        return self.annotations.get(STATUS, "")

    @events.default
    def _events(self) -> tuple[str, ...]:
        kind, _colon, name = self.annotations.get(WAITING, "").partition(":")
        if kind != "event" or not name:
            return ()
        return (name, *json.loads(self.annotations[ALSO])) if ALSO in self.annotations else (name,)

    @polls.default
    def _polls(self) -> bool:
        return self.annotations.get(WAITING, "") not in ("", "delay")

    @plain.default
    def _plain(self) -> bool:
        return not (self.events or self.polls or self.status)

    @classmethod
    def parse(cls, text: str) -> Transition:
        """The transition of a stored text, also of one without short parts. Raises one of DAMAGED for any other text."""
        raw = json.loads(lengthened(text))
        to, notes = raw["to"], checked_map(raw["annotations"])
        for name in _FORMS.keys() & notes.keys():
            try:
                _FORMS[name](notes[name])
            except DAMAGED as error:
                raise ValueError(f"its annotation {name!r}: {type(error).__name__}: {error}") from error
        return Transition(to + "", notes)

    def with_notes(self, **annotations: str) -> Transition:
        """A copy with `stepflow.<name>` annotations added."""
        extra = {f"stepflow.{name}": value for name, value in annotations.items()}
        return Transition(self.to, {**self.annotations, **extra})


PARKED = Transition()


@frozen
class Unreadable(Transition):
    """Stands for the transition of a State of which a part cannot be read: `problem` says which one, and why.

    It has what can be read; its text is the stored one, so a write of it changes nothing. No worker advances such a run.
    """

    stored: str = field(default="", kw_only=True)
    problem: str = field(default="", kw_only=True)  # type: ignore[misc]

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "text", self.stored)


def wait_notes(events: Sequence[str], deadline: int | None = None, payloads: str = "") -> dict[str, str]:
    """The annotations of a run that waits for the first of some events, until a deadline, with `payloads` of these schemas; without events it sleeps."""
    if not events:
        return {WAITING: "delay"}
    notes = {WAITING: f"event:{events[0]}"}
    if len(events) > 1:
        notes[ALSO] = json.dumps(list(events[1:]), ensure_ascii=False)
    if deadline is not None:
        notes[DEADLINE] = str(deadline)
    if payloads:
        notes[PAYLOADS] = payloads
    return notes


def waiting(transition: Transition, events: Sequence[str], deadline: int | None, payloads: str) -> Transition:
    """The transition with such a wait; itself if it has it."""
    notes = without_wait(transition.annotations) | wait_notes(events, deadline, payloads)
    return transition if notes == transition.annotations else Transition(transition.to, notes)


def without_wait(annotations: Mapping[str, str]) -> dict[str, str]:
    """The annotations of a run whose wait or sleep has ended."""
    return {name: note for name, note in annotations.items() if name not in _OF_WAITS}


@lru_cache(maxsize=1024)
def _bare(to: str) -> Transition:
    return Transition(to)


def transition_to(to: str, annotations: Mapping[str, str] = EMPTY) -> Transition:
    """A transition to flow `to`; one without annotations is made once, as many runs share it."""
    return Transition(to, dict(annotations)) if annotations else _bare(to)


class State(NamedTuple):
    """One revision of a run: `rev` is store-wide and strictly increasing, 0 means not stored yet.

    `labels` are indexed and can be queried, `annotations` are not; `committed_at` is integer microseconds UTC.
    """

    id: str
    rev: int = 0
    transition: Transition = PARKED
    labels: Mapping[str, str] = EMPTY
    annotations: Mapping[str, str] = EMPTY
    committed_at: int = 0

    @property
    def parked(self) -> bool:
        """True when the transition names no flow: never started, parked, or ended."""
        return not self.transition.to
