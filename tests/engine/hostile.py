"""Exception classes whose own code raises, for tests of what a step may raise."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st


def _fails(*_args: object, **_kwargs: object) -> Any:
    raise KeyError("careless")


def _exits(*_args: object, **_kwargs: object) -> Any:
    raise SystemExit(3)


def _recurses(self: Any, *_args: object) -> Any:
    return self.missing


class OddText(str):
    """A text that cannot be shown."""

    __slots__ = ()
    __str__ = __format__ = __repr__ = _fails


BASES: dict[str, tuple[type[BaseException], tuple[Any, ...]]] = {
    "Exception": (Exception, ("text",)),
    "OSError": (OSError, (2, "text", "file")),
    "KeyError": (KeyError, ("text",)),
    "TimeoutError": (TimeoutError, ()),
    "SyntaxError": (SyntaxError, ("text", ("file", 1, 2, "line"))),
    "UnicodeDecodeError": (UnicodeDecodeError, ("utf-8", b"\xff", 0, 1, "text")),
    "AttributeError": (AttributeError, ("text",)),
    "NameError": (NameError, ("text",)),
    "ImportError": (ImportError, ("text",)),
    "StopIteration": (StopIteration, ("text",)),
    "StopAsyncIteration": (StopAsyncIteration, ("text",)),
    "RuntimeError": (RuntimeError, ("coroutine raised StopIteration",)),
    "ExceptionGroup": (ExceptionGroup, ("text", [KeyError(1), ExceptionGroup("inner", [ValueError(2)])])),
    "BaseException": (BaseException, ("text",)),
    "BaseExceptionGroup": (BaseExceptionGroup, ("text", [SystemExit(1), ValueError(2)])),
    "GeneratorExit": (GeneratorExit, ("text",)),
    "CancelledError": (asyncio.CancelledError, ("text",)),
    "SystemExit": (SystemExit, (3,)),
}

TRAITS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "slots": {"__slots__": ()},
    **{name: {name: _fails} for name in ("__getattr__", "__getattribute__", "__str__", "__repr__", "__format__")},
    **{name: {name: _fails} for name in ("__eq__", "__hash__", "__bool__", "__reduce__", "__reduce_ex__", "__dir__")},
    **{name: {name: _fails} for name in ("__setattr__", "__delattr__", "add_note", "with_traceback", "__len__")},
    "len 0": {"__len__": lambda _self: 0},
    "endless": {"__getattr__": _recurses},
    "exits": {"__str__": _exits, "__getattr__": _exits},
    "unhashable": {"__hash__": None, "__eq__": lambda _self, _other: True},
    "class": {"__class__": property(_fails)},
    "dict": {"__dict__": property(_fails)},
    "causes": dict.fromkeys(("__cause__", "__context__", "__traceback__", "__suppress_context__"), property(_fails)),
    "notes": {"__notes__": "no list"},
    "failing notes": {"__notes__": property(_fails)},
    "odd notes": {"__notes__": [1, None, OddText("note")]},
    "text": {"__str__": lambda _self: None},
    "exceptions": {"exceptions": property(_fails)},
    "args": {"args": property(_fails)},
}


def make(base: str, *traits: str) -> BaseException:
    """A new exception of a class `Hostile` with these traits."""
    kind, args = BASES[base]
    body: dict[str, Any] = {"__qualname__": "Hostile", "__module__": __name__}
    for trait in traits:
        body |= TRAITS[trait]
    cls: Any = type("Hostile", (kind,), body)
    error: BaseException = cls(*args)
    return error


makers: st.SearchStrategy[Callable[[], BaseException]] = st.builds(
    lambda base, traits: lambda: make(base, *traits),
    st.sampled_from(sorted(BASES)),
    st.lists(st.sampled_from(sorted(TRAITS)), max_size=3),
)
