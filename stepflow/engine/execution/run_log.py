"""run_log: what a worker logs of its runs, each failure, retry, block and takeover once, with the run's id in `extra`.

The records belong to the logger `stepflow`. Each has the attributes `event` (`failed`, `retried`, `blocked`, `taken_over`, `lost`, `paused`, `hung`, `timed_out`, `conflict`, `late`),
`run_id`, `flow`, `step` and `attempt`, and `trace_id` (32 hex digits) if the run belongs to a trace; failures and retries have the exception with its traceback
as `exc_info`, unless it is an error of this library that no code of a user led to.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import Any

from stepflow.drivers.port.commit import Release
from stepflow.engine.execution.attempt import Attempt
from stepflow.errors import PauseRequested, RunPaused, error_line
from stepflow.model.error_text import kind_of, loggable, message_of, traceback_of
from stepflow.model.outcome import is_own, user_frames
from stepflow.model.safe_text import storable
from stepflow.model.state import trace_of

log = logging.getLogger("stepflow")
LISTED = 5  # States that a record names


def failed(attempt: Attempt) -> None:
    """The run ended as failed, and that is durable."""
    text = "run %s of flow %s failed at %s: %s"
    _log(logging.ERROR, "failed", attempt, text, *_names(attempt), _summary(attempt.error))


def retried(attempt: Attempt) -> None:
    """The last failure is stored, and the step will be tried again; nothing is logged if there was none, or no retry."""
    if attempt.failure is None or attempt.ended:
        return
    text = "run %s of flow %s: %s failed in attempt %d and is tried again: %s"
    _log(logging.WARNING, "retried", attempt, text, *_names(attempt), attempt.number, _summary(attempt.error))
    attempt.failure = None


def blocked(attempt: Attempt, release: Release) -> None:
    """This worker cannot advance the run and releases it for other definitions."""
    text = "run %s of flow %s is blocked at %s: %s"
    _log(logging.ERROR, "blocked", attempt, text, *_names(attempt), release.blocked)


def taken_over(attempt: Attempt) -> None:
    """The claim that was just made follows some that ended without a commit."""
    text = "run %s of flow %s goes on at %s, after %d claim(s) without a commit: their owners died or hung, or gave it to a host"
    _log(logging.WARNING, "taken_over", attempt, text, *_names(attempt), attempt.claim.row.crashes)


def lost(attempt: Attempt, error: Exception) -> None:
    """Another owner or commit moved the run while this worker held it, or it was paused; nothing is logged of one that a host was to move."""
    if isinstance(error, RunPaused | PauseRequested):
        paused(attempt)
    elif not attempt.handed_over:
        _log(
            logging.WARNING, "lost", attempt, "run %s: this worker does not go on with it: %s", attempt.state.id, error
        )


def paused(attempt: Attempt) -> None:
    """The run was paused while this worker held it."""
    _log(logging.INFO, "paused", attempt, "run %s is paused: its worker released it", attempt.state.id)


def conflicted(attempt: Attempt, ids: Sequence[str]) -> None:
    """The function of a State is called again, because its commit met newer revisions; logged for attempts 1, 2, 4, 8 and so on."""
    if attempt.number & (attempt.number - 1):
        return
    text = "run %s of flow %s: attempt %d of %s did not commit, as another commit moved %s first; it is tried again"
    run_id, flow, step = _names(attempt)
    others = ", ".join(map(repr, ids[:LISTED]))
    _log(logging.WARNING, "conflict", attempt, text, run_id, flow, attempt.number, step, others)


def hung(attempt: Attempt, limit_s: float) -> None:
    """The attempt made no commit for longer than its flow allows: its claim is released."""
    text = "run %s: no commit for %g s, its claim is released"
    _log(logging.WARNING, "hung", attempt, text, attempt.state.id, limit_s)


def timed_out(attempt: Attempt) -> None:
    """The time limit of the run is over while this worker holds it."""
    text = "run %s of flow %s did not end within its run_timeout: it is to end now, at %s"
    run_id, flow, step = _names(attempt)
    _log(logging.WARNING, "timed_out", attempt, text, run_id, flow, step)


def late(attempt: Attempt, error: BaseException, step: str = "") -> None:
    """A call that the worker had given up ended with an error: it tells why the call took so long. `step`: of an attempt that went on."""
    text = "run %s of flow %s: a call of %s that was given up has failed: %s"
    line, (run_id, flow, at) = error_line(kind_of(error), message_of(error)), _names(attempt)
    _log(logging.INFO, "late", attempt, text, run_id, flow, step or at, line, raised=error, step=step)


def _log(
    level: int,
    event: str,
    attempt: Attempt,
    text: str,
    *args: object,
    raised: BaseException | None = None,
    step: str = "",
) -> None:
    if not log.isEnabledFor(level):
        return
    run_id, flow, at = _names(attempt)
    extra = {"event": event, "run_id": run_id, "flow": flow, "step": step or at, "attempt": attempt.number}
    if trace := trace_of(attempt.state.annotations):
        extra["trace_id"] = trace
    if event in ("failed", "retried", "blocked"):
        raised = attempt.failure
    args = tuple(storable(arg) if isinstance(arg, str) else arg for arg in args)
    log.log(level, text, *args, exc_info=_raised(raised), extra=extra)


def _raised(error: BaseException | None) -> Any:
    """The `exc_info` of a log record: from the user's function on; None if there is none."""
    if error is None or is_own(error):
        return None
    shown = loggable(error)
    return type(shown), shown, user_frames(traceback_of(shown))


def _names(attempt: Attempt) -> tuple[str, str, str]:
    return attempt.state.id, attempt.flow.name, attempt.step or "its start"


def _summary(error: str) -> str:
    """`Type: message` of an error in its stored form."""
    raw = json.loads(error or "{}")
    return error_line(raw.get("type", "?"), raw.get("message", ""))
