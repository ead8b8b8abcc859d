"""Way: what `wf.first_of` can wait for: an event, a message of a topic, a moment, or the end of a child (`ChildHandle`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Literal, TypeVar

from attrs import field, frozen

from stepflow.model.codec import Codec
from stepflow.model.flow import Flow

T_co = TypeVar("T_co", covariant=True)


@frozen
class Way(Generic[T_co]):
    """One of the ways in which a `first_of` can end, with a T as its value."""


@frozen
class EventWay(Way[T_co]):
    """An event of this name. With `latch` the newest event is taken, and the older ones are dropped."""

    name: str
    codec: Codec[Any] = field(eq=False, repr=False)
    latch: bool = False


@frozen
class TimerWay(Way[None]):
    """A moment: `due(now)`, microseconds UTC, as the first call fixes it."""

    due: Callable[[int], int] = field(eq=False, repr=False)


@frozen
class TopicWay(Way[T_co]):
    """A message of this topic that the run has not taken; those count that were published since the run began (`start`), since the call
    (`now`), or since a moment, microseconds UTC."""

    name: str
    codec: Codec[Any] = field(eq=False, repr=False)
    since: Literal["start", "now"] | int = "start"


@frozen
class ChildHandle(Way[T_co]):
    """A run that a workflow started as its child: `wf.result(key, child)` waits for its end, and `wf.first_of` can wait for it, too."""

    id: str
    flow: Flow[Any, T_co]
