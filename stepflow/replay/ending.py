"""ending: what is wrong with how the function of a workflow ended; the text says what was done, and what to do instead."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from stepflow.errors import DefinitionError, StepflowError, TooLarge, error_line
from stepflow.model.error_text import is_a, kind_of, message_of, set_cause, traceback_of
from stepflow.model.keywords import keywords_of, unknown_keyword
from stepflow.model.suggest import suggest
from stepflow.replay.async_context import AsyncContext
from stepflow.replay.calls import ContextBase
from stepflow.replay.context import Context
from stepflow.replay.effects import swallowed
from stepflow.replay.journal import GATHER, Journal, Suspended

_WRONG_CALL = re.compile(
    r"(?:Async)?Context(?:Base)?\.(?P<name>[a-z]\w*)\(\) (?P<wrong>got an unexpected keyword argument '(?P<keyword>\w+)'|missing .*|takes .*|got .*)"
)
SHOWN = 200  # characters of the message of what a function raised


def wrong_end(journal: Journal, raised: BaseException | None, cancelled: type[BaseException]) -> StepflowError | None:
    """Why the run is blocked, although the function has returned or `raised`; `cancelled` is what ends a task of an event loop."""
    if journal.problem is not None:
        return journal.problem
    if (wrong := _wrong_call(journal.flow, raised) or _used_unawaited(journal, raised)) is not None:
        return wrong
    if journal.suspension is not None and not journal.over:
        at = "wf.continue_as_new()" if journal.renewed is not None else ""
        return None if is_a(raised, Suspended) else swallowed(journal.flow, journal.suspension, at)
    broken = journal.broken
    if broken is not None and (raised is not broken or (journal.went_on and is_a(broken, cancelled))):
        return _went_on(journal.flow, broken)
    return None


def wrong_return(journal: Journal) -> StepflowError | None:
    """Why the run is blocked, although the function returned a result."""
    try:
        journal.finished()
    except StepflowError as error:
        return error
    if journal.begun == len(journal.made) or not journal.made:
        return None
    return _unawaited(journal.flow, _left(journal) or GATHER)


def wrong_failure(journal: Journal, raised: BaseException) -> StepflowError | None:
    """Why the run is blocked, and does not fail by what the function raised: it has recorded more calls than the function came by."""
    if is_a(raised, TooLarge):
        return None
    try:
        journal.finished(f"{error_line(kind_of(raised), message_of(raised))[:SHOWN]}, which the function raises")
    except StepflowError as error:
        set_cause(error, raised)
        return error
    return None


def _wrong_call(flow: str, raised: BaseException | None) -> DefinitionError | None:
    """What is wrong with a durable call whose arguments do not fit, as Python says in `raised`, or that there is no such call."""
    text = ""
    if type(raised) is AttributeError:
        text = _no_call(raised.obj, str(raised.name)) if isinstance(raised.obj, ContextBase) else ""
    elif type(raised) is TypeError and (found := _WRONG_CALL.match(message_of(raised))):
        method = getattr(Context, found["name"], None) or getattr(AsyncContext, found["name"], None)
        text = _wrong_arguments(method, found) if method else ""
    return DefinitionError(f"{flow}: {text}").with_traceback(traceback_of(raised)) if text and raised else None


def _used_unawaited(journal: Journal, raised: BaseException | None) -> DefinitionError | None:
    """That the function took the coroutine of a call, which it did not await, for the value of the call, as Python says in `raised`."""
    if raised is None or type(raised) not in (TypeError, AttributeError) or "coroutine" not in message_of(raised):
        return None
    key = _left(journal)
    return _unawaited(journal.flow, key).with_traceback(traceback_of(raised)) if key else None


def _left(journal: Journal) -> str:
    """The key of the first call that was made and not awaited; empty if there is none."""
    return next((key for key in journal.made if key != GATHER and key not in journal.used), "")


def _no_call(wf: ContextBase, name: str) -> str:
    calls = [one for one in dir(wf) if one[0] != "_"]
    near = suggest(name, calls)
    if hasattr(AsyncContext, name):
        return f"wf.{name} is for async workflows: make the function async def, with an AsyncContext"
    return f"there is no wf.{name}{f', did you mean wf.{near}?' if near else ':'} there are {', '.join(calls)}"


def _wrong_arguments(method: Callable[..., Any], found: re.Match[str]) -> str:
    name, keyword, known = found["name"], found["keyword"], keywords_of(method)
    if not keyword:
        return f"wf.{name}() {found['wrong']}: it takes {', '.join(known)}"
    instead = {}
    if "fn" in known and not suggest(keyword, known):
        instead[keyword] = f"for the function's own give functools.partial(fn, {keyword}=...)"
    return unknown_keyword(f"wf.{name}({keyword}=...)", keyword, known, instead)


def _went_on(flow: str, broken: BaseException) -> DefinitionError:
    return DefinitionError(
        f"{flow}: the function went on after {kind_of(broken)} had ended one of its calls, which is not recorded and would be made again: it"
        " must not catch BaseException, nor put calls under asyncio.timeout: give the step timeout="
    )


def _unawaited(flow: str, key: str) -> DefinitionError:
    return DefinitionError(
        f"{flow}: the call with the key {key!r} was made without `await`, so it did nothing: await it"
    )
