"""blocked: why a worker released a run that it cannot advance: the kinds, and the form in which a queue row has one."""

from __future__ import annotations

import re

from attrs import frozen

from stepflow.errors import CodecError, ReplayMismatch

UNKNOWN_OUTCOME = "unknown_outcome"  # also the `blocked_by` of such rows: no definition has this hash
UNREADABLE = "unreadable"  # also the `blocked_by` of a row of the queue that has no run
HOST = "host"  # also the `blocked_by` of such rows: any worker may ask the hosts again
ANEW = "`stepflow wake` writes it anew"  # ends the text of a run whose queue row cannot be read: it is never due
_STORED = re.compile(rf"\[(payload|replay|{UNREADABLE}|{HOST}|{UNKNOWN_OUTCOME})\] ")


@frozen
class Blocked:
    """Why a run is blocked, in words, and the kind of the reason.

    `definition`: the flow has no such position, or its code uses the library wrongly; `payload`: a stored value does not fit its
    type; `unreadable`: what the store has of the run cannot be read; `replay`: the workflow leaves the recorded path; `host`: the hosts of the flow refuse it; `unknown_outcome`: a call that is made at most once was interrupted.
    """

    kind: str
    text: str

    def __str__(self) -> str:
        return self.text


def stored(error: BaseException, text: str) -> str:
    """The text of a queue row for a run that this error blocks."""
    if isinstance(error, CodecError):
        return f"[payload] {text}"
    return f"[replay] {text}" if isinstance(error, ReplayMismatch) else text


def refused(text: str) -> str:
    """The text of a queue row for a run that its hosts refuse."""
    return f"[{HOST}] {text}"


def unreadable(text: str) -> str:
    """The text of a queue row for a run of which something cannot be read."""
    return f"[{UNREADABLE}] {text}"


def unreadable_row(problem: str) -> str:
    """The text of a run whose queue row cannot be read; the row itself has none."""
    return unreadable(f"its row of the queue cannot be read ({problem}); {ANEW}")


def unreadable_run(run_id: str, problem: str) -> CodecError:
    """The refusal to change a run of which something cannot be read."""
    return CodecError(
        f"run {run_id!r}: {problem}; nothing was changed: rewind or fork it at a revision that can be read, or cancel it"
    )


def unknown(text: str) -> str:
    """The text of a queue row for a run whose call has an unknown outcome."""
    return f"[{UNKNOWN_OUTCOME}] {text}"


def read(text: str) -> Blocked | None:
    """The reason in the text of a queue row; None where it has none."""
    if not text:
        return None
    found = _STORED.match(text)
    return Blocked("definition", text) if found is None else Blocked(found[1], text[found.end() :])
