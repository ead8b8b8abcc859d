"""The verbs on States for threads that may block: each waits until the event loop has done it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

from stepflow.drivers.port.delays import Delay
from stepflow.engine.states.api import AsyncVerbs, Labels, Since
from stepflow.engine.states.function_runner import Outcome
from stepflow.engine.states.watch import Watch
from stepflow.errors import StepflowError
from stepflow.model import commands as c
from stepflow.model.ctx import StateCtx
from stepflow.model.state import State

T = TypeVar("T")
Wait = Callable[[Coroutine[Any, Any, Any]], Any]


class SyncWatch:
    """The blocking twin of Watch: `for state in watch`, or `watch.next(timeout)`."""

    def __init__(self, watch: Watch, wait: Wait) -> None:
        self._watch, self._wait = watch, wait

    def __iter__(self) -> SyncWatch:
        return self

    def __next__(self) -> State:
        state: State = self._wait(self._watch.__anext__())
        return state

    def next(self, timeout: float | None = None) -> State | None:
        """The next State, or None if there is none for `timeout` seconds."""
        state: State | None = self._wait(self._watch.next(timeout))
        return state


class BlockingVerbs:
    """What callers and flow functions do with States; the blocking twin of AsyncVerbs."""

    def __init__(self, verbs: AsyncVerbs, wait: Wait) -> None:
        self._verbs, self._wait = verbs, wait

    def do(self, *commands: c.Command) -> c.States | list[Delay] | None:
        """Carry out commands one after another, stopping at the first error; `commit(...)` is the atomic one.

        Returns the answer of the last command if it is a query. Raises RevMismatch when somebody moved a State first.
        """
        answer: c.States | list[Delay] | None = self._wait(self._verbs.do(*commands))
        return answer

    def execute(self, ctx: StateCtx) -> Outcome:
        """Call the flow function that the State goes to, and what follows, here and now: Done, Parked, Delayed, Conflict.

        Raises what a function raised; the State stays as last committed.
        """
        outcome: Outcome = self._wait(self._verbs.execute(ctx))
        return outcome

    def states(self, *labels: Labels, **options: Any) -> c.States:
        """Revisions that have all labels of one of the groups (no groups: all), ascending; see AsyncVerbs.states."""
        found: c.States = self._wait(self._verbs.states(*labels, **options))
        return found

    def iterate(self, *labels: Labels, **options: Any) -> Iterator[State]:
        """All revisions as `states` would give them, page by page, up to the newest; then it ends."""
        pages = self._verbs.iterate(*labels, **options)
        while (state := self._wait(_next(pages))) is not None:
            yield state

    def get_state(self, id: str, rev: int = 0) -> StateCtx:  # noqa: A002
        """A working copy of a stored State, of its newest revision if `rev` is 0; NotFound if there is none."""
        ctx: StateCtx = self._wait(self._verbs.get_state(id, rev))
        return ctx

    def watch(self, *labels: Labels, since: Since = 0) -> SyncWatch:
        """Every revision that has all labels of one of the groups, for ever: none is missed, none repeated.

        `since` is a revision (exclusive), a point in time, or `"latest"`: from the newest match on, itself included.
        """
        return SyncWatch(self._verbs.watch(*labels, since=since), self._wait)


async def _next(states: Any) -> State | None:
    found: State | None = await anext(states, None)
    return found


def blocking(loop: asyncio.AbstractEventLoop) -> Wait:
    """Run a coroutine on a loop and wait for it in another thread."""
    return lambda work: asyncio.run_coroutine_threadsafe(work, loop).result()


def inline(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never waits for anything, as all do under virtual time."""
    try:
        work.send(None)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    work.close()
    raise StepflowError("this call would have to wait, and under virtual time nothing can: use an async function")
