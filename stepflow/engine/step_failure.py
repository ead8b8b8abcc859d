"""step_failure: the failure of a step as stored text, and the exception that it raises in the workflow.

The exception is made from the text also when the step has just failed, so that the workflow sees the same one at a replay.
"""

from __future__ import annotations

import json
import re
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from stepflow import errors
from stepflow.errors import StepFailed, Terminal
from stepflow.model import outcome as outcomes
from stepflow.model.error_text import (
    args_of,
    attributes_of,
    cause_of,
    is_a,
    kind_of,
    message_of,
    module_of,
    set_args,
    set_cause,
)
from stepflow.model.retry import is_terminal

HEADING = "Traceback (most recent call last):\n"
HEADER = re.compile(f"^{re.escape(HEADING)}", re.M)
OURS = str(Path(errors.__file__).parent)  # the folder of this library


class StepTraceback(Exception):
    """The cause of an exception that a step raised, perhaps in another process: the text of the traceback.

    Python prints `NAME: TEXT` of a cause. Here that is the traceback as it was, not this class around it.
    """

    __module__, __qualname__ = "builtins", HEADING.rstrip(":\n")

    def __init__(self, text: str) -> None:
        super().__init__("\n" + text.removeprefix(HEADING).rstrip("\n"))
        self.text = text


class TerminalTraceback(StepTraceback, Terminal):
    """The cause of an exception after which nothing is retried, although its own class does not tell."""

    __module__, __qualname__ = StepTraceback.__module__, StepTraceback.__qualname__


def stored(error: Exception) -> str:
    """The text: type, message and traceback, and if the exception can be made again from them, its class and contents."""
    raw = json.loads(outcomes.describe(error))
    if is_terminal(error):
        raw["terminal"] = True
    kind, module = type(error), module_of(error)
    if not isinstance(module, str) or _found(module, kind_of(error)) is not kind:
        return json.dumps(raw)
    raw["module"] = module
    for args, state in ((_plain(args_of(error)), _plain(attributes_of(error))), (_plain([message_of(error)]), None)):
        if args is None:
            continue
        again = raw | {"args": args, "state": state or {}}
        try:
            if message_of(_made(again)) == message_of(error):
                return json.dumps(again)
        except Exception:  # noqa: BLE001, S112 - code of the exception's class
            continue
    del raw["module"]
    return json.dumps(raw)


def restored(key: str, text: str) -> Exception:
    """The exception of a stored failure: of the class that was raised if that can be, else StepFailed."""
    raw = json.loads(text)
    error: Exception | None = None
    if "module" in raw:
        try:
            error = _made(raw)
        except Exception:  # noqa: BLE001 - the class is not there, or has changed
            error = None
    if error is None:
        error = StepFailed(key, raw["type"], raw["message"], raw["traceback"])
    if "terminal" in raw:
        set_cause(error, TerminalTraceback(raw["traceback"]))
    elif raw["traceback"]:
        set_cause(error, StepTraceback(raw["traceback"]))
    return error


def described(error: BaseException, trace: TracebackType | None, step: str) -> str:
    """The stored form of the error that ends an attempt, which came through the workflow by `trace`, from the call with the key `step`, if from one.

    A step's failure has one traceback: the lines of the workflow, then those of the step, which may have run elsewhere.
    """
    if is_a(error, StepFailed):
        kind, message, text = error.type, error.message, error.traceback
    elif is_a(cause := cause_of(error), StepTraceback):
        kind, message, text = kind_of(error), message_of(error), cause.text
    else:
        return outcomes.describe(error, step)
    *before, last = HEADER.split(text)
    if before:
        lines = [line for line in traceback.extract_tb(trace) if not line.filename.startswith(OURS)]
        text = HEADING.join([*before, "".join(traceback.format_list(lines)) + last])
    told = {"type": kind, "message": message, "traceback": text}
    return json.dumps(told | {"step": step} if step else told)


def origin(error: BaseException | None, failures: Mapping[str, Exception]) -> str:
    """The key of the recorded failure that is this error, or its cause by `raise ... from`, the nearest one; empty if there is none.

    An exception that is only raised while another one is handled (`__context__`) did not come from that: the code caught it. The
    frames by which the recorded failure came through the workflow are dropped: a log shows those of the step.
    """
    keys, seen = {id(failure): key for key, failure in failures.items()}, set[int]()
    while error is not None and id(error) not in seen:
        if key := keys.get(id(error), ""):
            BaseException.with_traceback(error, None)
            return key
        seen.add(id(error))
        error = cause_of(error)
    return ""


def _made(raw: dict[str, Any]) -> Exception:
    kind = _found(raw["module"], raw["type"])
    if kind is None:
        raise LookupError(raw["type"])
    args = raw["args"]
    error: Exception = kind.__new__(kind, *args)
    set_args(error, tuple(args))
    attributes_of(error).update(raw["state"])
    return error


def _found(module: str, name: str) -> type[Exception] | None:
    """The class of this name, if its module is loaded: no module is imported because a stored text names it."""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        try:
            found = getattr(found, part, None)
        except Exception:  # noqa: BLE001 - of a metaclass
            return None
    if not isinstance(found, type) or not issubclass(found, Exception) or issubclass(found, BaseExceptionGroup):
        return None
    return found


def _plain(value: Any) -> Any:
    """The value as JSON gives it again; None if it does not."""
    try:
        again = json.loads(json.dumps(value, allow_nan=False))
    except Exception:  # noqa: BLE001 - not JSON
        return None
    return again if again == (list(value) if isinstance(value, tuple) else value) else None
