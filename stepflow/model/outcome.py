"""outcome: the final transition of a run, and errors as stored text."""

from __future__ import annotations

import json
from functools import lru_cache
from types import FrameType, TracebackType

from stepflow.errors import RunFailed, StepflowError, TimedOut, error_line
from stepflow.model.error_text import cause_of, formatted, kind_of, message_of, parts_of, traceback_of
from stepflow.model.recovery import TRIED
from stepflow.model.run_timeout import RunEnd
from stepflow.model.state import (
    CHILDREN,
    DEADLINE,
    ERROR,
    FAILED_CALL,
    HEARD,
    NOTE,
    ONCE_SINCE,
    PASSES,
    POSITION,
    RENEWED,
    RESOLVED,
    REWOUND,
    STATUS,
    STYLE,
    TIMED_OUT,
    TOPICS,
    State,
    Transition,
    without_wait,
)

FLOW = "stepflow.flow"  # the flow function at which a State ended

MAX_TEXT = 16_384  # characters of a message or traceback that are kept
MAX_CAUSES = 20  # of an error that are looked at
_LIBRARIES = frozenset(
    {"stepflow", "cattrs", "pydantic", "json", "uuid", "base64", "zoneinfo"}
)  # whose frames tell a user nothing


def describe(error: BaseException, step: str = "") -> str:
    """An exception as JSON `{"type", "message", "traceback"}`, with the path of the `step` that raised it; the middle of a long text is left out.

    The traceback starts at the user's function; it is empty for an error of this library that no code of a user led to: its message says
    what is wrong. Never raises, whatever the exception's class does.
    """
    text = "" if is_own(error) else formatted(error, user_frames(traceback_of(error)))
    told = {"type": kind_of(error), "message": _short(message_of(error)), "traceback": _short(text)}
    return json.dumps(told | {"step": step} if step else told, ensure_ascii=True)


def is_own(error: BaseException) -> bool:
    """Whether it is an error of this library that no code of a user led to: its traceback tells nothing."""
    return issubclass(type(error), StepflowError) and not _is_of_user(error)


def user_frames(trace: TracebackType | None) -> TracebackType | None:
    """The traceback without the frames of this library at its start; all of it if there are no others."""
    below = trace
    while below is not None and below.tb_frame.f_globals.get("__name__", "").startswith("stepflow."):
        below = below.tb_next
    return below or trace


def _is_of_user(error: BaseException, depth: int = 0) -> bool:
    """Whether code of a user raised the error, or one of its causes."""
    frame = traceback_of(error)
    while frame is not None:
        code = frame.tb_frame
        if not code.f_code.co_filename.startswith("<cattrs") and not _LIBRARIES & {_package(code)}:
            return True
        frame = frame.tb_next
    causes = [cause_of(error), *parts_of(error)]
    return depth < MAX_CAUSES and any(one is not None and _is_of_user(one, depth + 1) for one in causes)


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def crashed(crashes: int, state: State) -> str:
    """The stored error of a run whose processes died."""
    where = state.transition.annotations.get(POSITION, state.transition.to)
    message = (
        f"{crashes} processes died while they held this run at {where}, "
        "the last one held no other run; fix the step, then redrive the run"
    )
    return json.dumps({"type": "Crashed", "message": message, "traceback": ""})


_OF_WORKFLOW = (STYLE, CHILDREN, RENEWED, REWOUND, TOPICS)  # what it needs if it goes on behind its end
_PLACE = (POSITION, PASSES)  # where a chain is


def final(transition: Transition, status: str, error: str) -> Transition:
    """The final transition of a run: parked, at its last position, with its status and error."""
    kept = (*_PLACE, *_OF_WORKFLOW)
    annotations = {key: value for key, value in transition.annotations.items() if key in kept}
    annotations[STATUS] = status
    if error:
        annotations[ERROR] = error
    return Transition("", annotations)


def timed_out(transition: Transition, end: RunEnd, error: str = "", *, heard: bool = False) -> Transition:
    """The final transition of a run whose time limit is over; `error`: what it raised then, `heard`: Cancelled was raised in a workflow."""
    at = " ".join(json.loads(transition.annotations.get(POSITION, "[]")))
    raw = json.loads(error or "{}")
    raised = f"; then it raised {error_line(raw['type'], raw['message'])}" if raw else ""
    text = f"the run did not end within {end.text}, its run_timeout{f'; it was at {at}' if at else ''}{raised}"
    over = final(transition, "failed", describe(TimedOut(text)))
    return Transition(over.to, {**over.annotations, TIMED_OUT: HEARD if heard else "1"})


def completed(transition: Transition) -> Transition:
    """The final transition of a workflow that returned: its runs share one for each way in which they differ."""
    notes = transition.annotations
    return _completed(*[(name, notes[name]) for name in (STYLE, CHILDREN, RENEWED) if name in notes])


@lru_cache(maxsize=1024)
def _completed(*notes: tuple[str, str]) -> Transition:
    return Transition("", {**dict(notes), STATUS: "completed"})


def tried_again(transition: Transition, attempt: int, error: str, unfinished: int, now: int) -> Transition:
    """The transition at which a run waits for its attempt of this number, after an error; a time limit that has passed begins anew."""
    kept = {
        key: value
        for key, value in transition.annotations.items()
        if key not in (RESOLVED, NOTE) and (key != DEADLINE or int(value) > now)
    }
    notes = {"attempt": str(attempt), "error": error, "waiting": "delay"}
    if unfinished:
        notes["unfinished"] = str(unfinished)
    return Transition(transition.to, kept).with_notes(**notes)


def stopped(transition: Transition, status: str, error: str) -> Transition:
    """The final transition of a State at a flow function; `resumed` returns it there."""
    notes = without_wait({key: value for key, value in transition.annotations.items() if key != ERROR})
    notes |= {STATUS: status, FLOW: transition.to} | ({ERROR: error} if error else {})
    return Transition("", notes)


def resumed(transition: Transition, flow: str) -> Transition:
    """The transition that resumes a failed run: at its position in `flow`, or at the flow function that failed."""
    if FLOW in transition.annotations:
        noted = transition.annotations.items()
        notes = {k: v for k, v in noted if k == ONCE_SINCE or (not k.startswith("stepflow.") and k != TRIED)}
        return Transition(transition.annotations[FLOW], notes)
    kept = (*_PLACE, FAILED_CALL, *_OF_WORKFLOW)
    return Transition(flow, {k: v for k, v in uncounted(transition).annotations.items() if k in kept})


def uncounted(transition: Transition) -> Transition:
    """The transition with a position in which no retry group has failed yet: their attempts count anew."""
    position = transition.annotations.get(POSITION, "")
    if '"attempt:' not in position:
        return transition
    strings = [text for text in json.loads(position) if not text.startswith("attempt:")]
    text = json.dumps(strings, ensure_ascii=False, separators=(",", ":"))
    return Transition(transition.to, {**transition.annotations, POSITION: text})


def failure(run_id: str, transition: Transition) -> RunFailed:
    """The stored error of a failed run as the exception that `result()` raises."""
    raw = json.loads(transition.annotations.get(ERROR, "{}"))
    return RunFailed(
        run_id, raw.get("type", "?"), raw.get("message", ""), raw.get("traceback", ""), raw.get("step", "")
    )


def _short(text: str) -> str:
    if len(text) <= MAX_TEXT:
        return text
    half = MAX_TEXT // 2
    return f"{text[:half]}\n… {len(text) - MAX_TEXT} characters left out …\n{text[-half:]}"
