"""error_text: reads and annotates an exception without the code of its class, which may raise.

A class may have a careless `__str__`, `__getattr__` or `__setattr__`, e.g. one that raises KeyError, or that of a frozen
dataclass. So attributes are read and written with the accessors of BaseException itself.
"""

from __future__ import annotations

import traceback
from types import TracebackType
from typing import Any, TypeGuard, TypeVar

from stepflow.model.safe_text import storable

T = TypeVar("T")

_accessors = BaseException.__dict__
_attributes = _accessors["__dict__"].__get__
_traceback = _accessors["__traceback__"].__get__
_args = _accessors["args"]
_cause = _accessors["__cause__"]
_parts: Any = BaseExceptionGroup.exceptions
_context = _accessors["__context__"]
_qualname = type.__dict__["__qualname__"].__get__
_module = type.__dict__["__module__"].__get__


def is_a(error: object, kind: type[T]) -> TypeGuard[T]:
    """Whether this is an exception of the class; not isinstance, which may ask the exception for its `__class__`."""
    return issubclass(type(error), kind)


def kind_of(error: BaseException) -> str:
    """The qualified name of the exception's class."""
    name: str = _qualname(type(error))
    return name


def module_of(error: BaseException) -> object:
    """The name of the module of the exception's class."""
    found: object = _module(type(error))
    return found


def message_of(error: BaseException) -> str:
    """The message with its notes; a message that cannot be shown is replaced by the reason."""
    notes = "".join(f" [{note}]" for note in notes_of(error))
    try:
        return f"{error}{notes}"
    except KeyboardInterrupt:
        raise
    except BaseException as broken:  # noqa: BLE001 - __str__ is user code
        return f"its message cannot be shown, __str__ raised {kind_of(broken)}{notes}"


def notes_of(error: BaseException) -> list[str]:
    """The notes of the exception that are texts."""
    notes = _attributes(error).get("__notes__")
    if not isinstance(notes, list):
        return []
    return [
        str.__str__(note) for note in notes if issubclass(type(note), str)
    ]  # a subclass may have a `__str__` that raises


def add_note_once(error: BaseException, note: str) -> None:
    """Add the note unless the exception has it already: one object may be raised many times."""
    if note not in notes_of(error):
        attributes = _attributes(error)
        notes = attributes.get("__notes__")
        attributes["__notes__"] = [*notes, note] if isinstance(notes, list) else [note]


def set_context(error: BaseException, cause: BaseException) -> None:
    """Make `cause` the context of the exception, unless it has one."""
    if _context.__get__(error) is None and error is not cause:
        _context.__set__(error, cause)


def attributes_of(error: BaseException) -> dict[str, Any]:
    """What the exception holds besides its arguments."""
    found: dict[str, Any] = _attributes(error)
    return found


def args_of(error: BaseException) -> tuple[Any, ...]:
    """The arguments of the exception."""
    found: tuple[Any, ...] = _args.__get__(error)
    return found


def set_args(error: BaseException, args: tuple[Any, ...]) -> None:
    """Give the exception other arguments."""
    _args.__set__(error, args)


def cause_of(error: BaseException) -> BaseException | None:
    """The exception that this one was raised from."""
    found: BaseException | None = _cause.__get__(error)
    return found


def parts_of(error: BaseException) -> tuple[BaseException, ...]:
    """The exceptions of a group; none of another exception."""
    found: tuple[BaseException, ...] = _parts.__get__(error) if issubclass(type(error), BaseExceptionGroup) else ()
    return found


def set_cause(error: BaseException, cause: BaseException) -> None:
    """Let the exception be raised from `cause`."""
    _cause.__set__(error, cause)


def traceback_of(error: BaseException) -> TracebackType | None:
    """The traceback that the exception carries."""
    found: TracebackType | None = _traceback(error)
    return found


def formatted(error: BaseException, trace: TracebackType | None) -> str:
    """The text of a traceback that begins at `trace`; without its causes if one of them cannot be shown."""
    try:
        return "".join(traceback.format_exception(type(error), error, trace))
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - the formatter reads attributes of user classes
        frames = "".join(traceback.format_tb(trace))
        return f"Traceback (most recent call last):\n{frames}{kind_of(error)}: {message_of(error)}\n"


def loggable(error: BaseException) -> BaseException:
    """The exception for a log's `exc_info`; a stand-in with the same traceback if its text cannot be formatted or written."""
    try:
        "".join(traceback.format_exception(error)).encode()
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - as in `formatted`
        return Unprintable(storable(f"{kind_of(error)}: {message_of(error)}")).with_traceback(traceback_of(error))
    return error


class Unprintable(Exception):
    """Stands in a log for an exception that cannot be formatted."""
