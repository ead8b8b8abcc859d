"""keywords: tells of a call with an unknown keyword which keywords there are, and which is the nearest."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar

from stepflow.model.suggest import suggest

T = TypeVar("T", bound=Callable[..., Any])


def keywords(**instead: str) -> Callable[[T], T]:
    """Decorate a function, or a class for its constructor: an unknown keyword is told with those that there are.

    `instead` has, by keywords that users of other libraries expect here, what to write instead. It is a TypeError as before; a
    call without a mistake costs a function call more, so it is for calls that define something.
    """

    def decorate(known: T) -> T:
        if isinstance(known, type):
            known.__init__ = _told(known.__init__, instead, of_class=True)  # type: ignore[misc]
            return known
        return _told(known, instead)  # type: ignore[no-any-return]

    return decorate


RUN_TIMEOUT = "the time limit of a whole run is run_timeout=, in seconds or a timedelta"
NO_RUN_TIMEOUT = "States of flow functions have no time limit as a whole: let a delay move them on"


class ToldKeywords:
    """Base of classes whose subclasses tell of an unknown keyword of their public methods; not of those that are awaited.

    `_instead` has, by method and keyword, what to write instead.
    """

    _instead: ClassVar[Mapping[str, Mapping[str, str]]] = MappingProxyType({})

    def __init_subclass__(cls, **given: Any) -> None:
        super().__init_subclass__(**given)
        for name, fn in list(vars(cls).items()):
            if inspect.isfunction(fn) and name[0] != "_" and not inspect.iscoroutinefunction(fn):
                setattr(cls, name, _told(fn, cls._instead.get(name, {}), method=True))


def _told(fn: Any, instead: Mapping[str, str], *, of_class: bool = False, method: bool = False) -> Any:
    @functools.wraps(fn)
    def call(*args: Any, **given: Any) -> Any:
        try:
            return fn(*args, **given)
        except TypeError as error:
            inside, said = error.__traceback__ is not None and error.__traceback__.tb_next, str(error)
            wrong = [] if inside else [one for one in given if f"unexpected keyword argument '{one}'" in said]
            if not wrong:  # raised inside of the function, or another mistake
                raise
            name = (
                type(args[0]).__name__
                if of_class
                else f"{type(args[0]).__name__}.{fn.__name__}"
                if method
                else fn.__qualname__
            )
            text = unknown_keyword(f"{name}({wrong[0]}={given[wrong[0]]!r:.80})", wrong[0], keywords_of(fn), instead)
        raise TypeError(text)

    return call


def unknown_keyword(call: str, keyword: str, known: Sequence[str], instead: Mapping[str, str]) -> str:
    """What is wrong with `keyword` in a call that takes the `known` ones, and what to write."""
    near, there = suggest(keyword, known), f"it takes {', '.join(known) or 'none'}"
    if keyword in instead:
        return f"{call}: there is no keyword {keyword}=: {instead[keyword]}; {there}"
    return f"{call}: there is no keyword {keyword}={f', did you mean {near}=?' if near else ':'} {there}"


def keywords_of(fn: Callable[..., Any]) -> list[str]:
    """The names that can be given as keywords."""
    found = inspect.signature(fn).parameters.values()
    return [p.name for p in found if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name != "self"]
