"""The hand-written parts of the blocking faces of AsyncVerbs, AsyncRun and Watch: constructors, iteration, waiting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, Generic, Protocol, Self, TypeVar

from stepflow.engine.client.run import AsyncRun
from stepflow.engine.states.api import AsyncVerbs
from stepflow.engine.states.watch import Watch
from stepflow.engine.threads.hidden_loop import run_inline
from stepflow.model.keywords import ToldKeywords
from stepflow.model.state import State

E = TypeVar("E")
T = TypeVar("T")


class ForwardCall(Protocol):
    """Runs a coroutine on an engine's event loop, and blocks the calling thread until it has ended."""

    def __call__(self, work: Coroutine[Any, Any, T], /) -> T: ...


class VerbsBase(ToldKeywords):
    """Constructor of the blocking twin of AsyncVerbs."""

    def __init__(self, verbs: AsyncVerbs, call: ForwardCall) -> None:
        self._verbs, self._call = verbs, call


class RunBase(ToldKeywords, Generic[E]):
    """Constructor of the blocking twin of AsyncRun."""

    id: str

    def __init__(self, run: AsyncRun[E], call: ForwardCall) -> None:
        self.id = run.id
        self._run, self._call = run, call

    def __repr__(self) -> str:
        return f"Run({self.id!r})"

    def _blocking_run(self, run: AsyncRun[E]) -> Self:
        return type(self)(run, self._call)

    def _call_tx(self, tx: Any, work: Coroutine[Any, Any, T]) -> T:
        return self._call(work) if tx is None else call_here(work)


class WatchBase:
    """Constructor and iteration of the blocking twin of Watch."""

    def __init__(self, watch: Watch, call: ForwardCall) -> None:
        self._watch, self._call = watch, call

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> State:
        return self._call(self._watch.__anext__())


def each(call: ForwardCall, items: AsyncIterator[T]) -> Iterator[T]:
    """The items of an asynchronous iterator, one after another."""
    while found := call(_next(items)):
        yield found[0]


async def _next(items: AsyncIterator[T]) -> tuple[T, ...]:
    """The next item, or an empty tuple at the end."""
    try:
        return (await anext(items),)
    except StopAsyncIteration:
        return ()


def call_here(work: Coroutine[Any, Any, T]) -> T:
    """Run a call with `tx=` in the calling thread, to which the caller's connection may be bound."""
    return run_inline(work, "a call with tx= would have to wait for the event loop: give a blocking connection")


def call_on(loop: asyncio.AbstractEventLoop) -> ForwardCall:
    """Run coroutines on a loop and wait for each in another thread."""

    def call(work: Coroutine[Any, Any, T], /) -> T:
        return asyncio.run_coroutine_threadsafe(work, loop).result()

    return call


def call_inline(work: Coroutine[Any, Any, T], /) -> T:
    """Run a coroutine that never waits for anything, as all do under virtual time."""
    refusal = "this call would have to wait, and under virtual time nothing can: use an async function"
    return run_inline(work, refusal)
