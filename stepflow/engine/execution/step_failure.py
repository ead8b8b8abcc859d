"""step_failure: the failure of a step as stored text, and the exception that it raises in the workflow.

The exception is made from the text also when the step has just failed, so that the workflow sees the same one at a replay.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from stepflow.errors import StepFailed
from stepflow.model import outcome as outcomes
from stepflow.model.error_text import message_of


class StepTraceback(Exception):
    """The cause of an exception that a step raised, perhaps in another process: the text of the traceback."""


def stored(error: Exception) -> str:
    """The text: type, message and traceback, and if the exception can be made again from them, its class and contents."""
    raw = json.loads(outcomes.describe(error))
    kind = type(error)
    if _found(kind.__module__, kind.__qualname__) is not kind:
        return json.dumps(raw)
    raw["module"] = kind.__module__
    for args, state in ((_plain(error.args), _plain(vars(error))), (_plain([message_of(error)]), None)):
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
    if raw["traceback"]:
        error.__cause__ = StepTraceback(f'\n"""\n{raw["traceback"]}"""')
    return error


def original(error: BaseException, text: str) -> str:
    """The stored form of the error that ends a run: of the step's own failure if it is that, which has the traceback of the step."""
    if isinstance(error, StepFailed):
        return json.dumps({"type": error.type, "message": error.message, "traceback": error.traceback})
    return text


def _made(raw: dict[str, Any]) -> Exception:
    kind = _found(raw["module"], raw["type"])
    if kind is None:
        raise LookupError(raw["type"])
    args = raw["args"]
    error: Exception = kind.__new__(kind, *args)
    error.args = tuple(args)
    vars(error).update(raw["state"])
    return error


def _found(module: str, name: str) -> type[Exception] | None:
    """The class of this name, if its module is loaded: no module is imported because a stored text names it."""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
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
