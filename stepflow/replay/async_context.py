"""AsyncContext: the durable calls of an async workflow; thin shells around the coroutines of the decider."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from datetime import datetime
from typing import Any, Literal, TypeVar, TypeVarTuple, overload

from stepflow.model.flow import Flow
from stepflow.model.retry import RetryPolicy
from stepflow.replay import decider
from stepflow.replay.calls import ContextBase, Duration, TopicSince
from stepflow.replay.decider import DurableCall
from stepflow.replay.first_of import first_of
from stepflow.replay.gather import gather
from stepflow.replay.journal import GATHER
from stepflow.replay.results import Failed, First, Ok
from stepflow.replay.ways import ChildHandle, Way

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
In = TypeVar("In")
Out = TypeVar("Out")
Item = TypeVar("Item")
Ts = TypeVarTuple("Ts")


class AsyncContext(ContextBase):
    """The durable calls of an async workflow, as in `Context`; await each of them before the next one."""

    @overload
    def execute(
        self,
        key: str,
        fn: Callable[[*Ts], Coroutine[Any, Any, T]],
        *args: *Ts,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
        renamed: str | None = None,
        at_most_once: bool = False,
    ) -> Coroutine[Any, Any, T]: ...
    @overload
    def execute(
        self,
        key: str,
        fn: Callable[[*Ts], T],
        *args: *Ts,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
        renamed: str | None = None,
        at_most_once: bool = False,
    ) -> Coroutine[Any, Any, T]: ...
    def execute(  # type: ignore[misc]  # mypy compares *args: Any with *args: *Ts
        self,
        key: str,
        fn: Callable[..., Any],
        *args: Any,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
        renamed: str | None = None,
        at_most_once: bool = False,
    ) -> Coroutine[Any, Any, Any]:
        """Call the step `fn(*args)`, async or sync (in a thread); see `Context.execute`."""
        return self._run(key, self._execute(key, fn, args, retry, timeout, renamed, True, at_most_once=at_most_once))

    @overload
    def transaction(
        self,
        key: str,
        fn: Callable[[Any, *Ts], Coroutine[Any, Any, T]],
        *args: *Ts,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
        renamed: str | None = None,
    ) -> Coroutine[Any, Any, T]: ...
    @overload
    def transaction(
        self,
        key: str,
        fn: Callable[[Any, *Ts], T],
        *args: *Ts,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
        renamed: str | None = None,
    ) -> Coroutine[Any, Any, T]: ...
    def transaction(  # type: ignore[misc]  # mypy compares *args: Any with *args: *Ts
        self,
        key: str,
        fn: Callable[..., Any],
        *args: Any,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
        renamed: str | None = None,
    ) -> Coroutine[Any, Any, Any]:
        """Call `fn(connection, *args)` as a step whose writes are committed with its value; see `Context.transaction`.

        An async `fn` gets a `psycopg.AsyncConnection`, a sync one is called in a thread.
        """
        return self._run(key, self._execute(key, fn, args, retry, timeout, renamed, awaits=True, kind="transaction"))

    @overload
    def map(
        self,
        key: str,
        fn: Callable[[Item], Coroutine[Any, Any, T]],
        items: Iterable[Item],
        *,
        width: int = 8,
        fail_after: int | None = None,
        first: int | None = None,
    ) -> Coroutine[Any, Any, list[Ok[T] | Failed]]: ...
    @overload
    def map(
        self,
        key: str,
        fn: Callable[[Item], T],
        items: Iterable[Item],
        *,
        width: int = 8,
        fail_after: int | None = None,
        first: int | None = None,
    ) -> Coroutine[Any, Any, list[Ok[T] | Failed]]: ...
    def map(
        self,
        key: str,
        fn: Callable[[Any], Any],
        items: Iterable[Any],
        *,
        width: int = 8,
        fail_after: int | None = None,
        first: int | None = None,
    ) -> Coroutine[Any, Any, list[Ok[Any] | Failed]]:
        """Call `fn(item)` as a step for each item, at most `width` at a time; see `Context.map`."""
        return self._run(key, self._map(key, fn, items, width, fail_after, first, awaits=True))

    @overload
    def gather(self, a: Awaitable[A], /) -> Coroutine[Any, Any, tuple[A]]: ...
    @overload
    def gather(self, a: Awaitable[A], b: Awaitable[B], /) -> Coroutine[Any, Any, tuple[A, B]]: ...
    @overload
    def gather(self, a: Awaitable[A], b: Awaitable[B], c: Awaitable[C], /) -> Coroutine[Any, Any, tuple[A, B, C]]: ...
    @overload
    def gather(
        self, a: Awaitable[A], b: Awaitable[B], c: Awaitable[C], d: Awaitable[D], /
    ) -> Coroutine[Any, Any, tuple[A, B, C, D]]: ...
    @overload
    def gather(
        self, a: Awaitable[A], b: Awaitable[B], c: Awaitable[C], d: Awaitable[D], e: Awaitable[E], /
    ) -> Coroutine[Any, Any, tuple[A, B, C, D, E]]: ...
    @overload
    def gather(
        self,
        a: Awaitable[T],
        b: Awaitable[T],
        c: Awaitable[T],
        d: Awaitable[T],
        e: Awaitable[T],
        f: Awaitable[T],
        /,
        *calls: Awaitable[T],  # mypy takes a call for ambiguous if this overload accepts as few arguments as the others
    ) -> Coroutine[Any, Any, tuple[T, ...]]: ...
    def gather(self, *calls: Awaitable[Any]) -> Coroutine[Any, Any, tuple[Any, ...]]:
        """Make several calls side by side: `a, b = await wf.gather(wf.execute(...), wf.wait_for_event(...))`; their values, in their order.

        Each argument is a call without `await`, or a coroutine of your own that makes calls one after another. Several of them may wait
        at the same time. When all have ended, the first error in their order is raised.
        """
        return self._run(GATHER, gather(self._journal, calls))

    @overload
    def start_child(
        self, key: str, flow: Flow[None, Out], input: None = None, *, on_parent_end: Literal["cancel", "leave"] = "cancel",
        labels: Mapping[str, str] | None = None, priority: int = 0, run_timeout: Duration | None = None,
    ) -> Coroutine[Any, Any, ChildHandle[Out]]: ...  # fmt: skip
    @overload
    def start_child(
        self, key: str, flow: Flow[In, Out], input: In, *, on_parent_end: Literal["cancel", "leave"] = "cancel",
        labels: Mapping[str, str] | None = None, priority: int = 0, run_timeout: Duration | None = None,
    ) -> Coroutine[Any, Any, ChildHandle[Out]]: ...  # fmt: skip
    def start_child(
        self,
        key: str,
        flow: Flow[Any, Out],
        input: Any = None,  # noqa: A002
        *,
        on_parent_end: Literal["cancel", "leave"] = "cancel",
        labels: Mapping[str, str] | None = None,
        priority: int = 0,
        run_timeout: Duration | None = None,
    ) -> Coroutine[Any, Any, ChildHandle[Out]]:
        """Start a run of another flow, of any style, as a child of this one; see `Context.start_child`."""
        effects = self._start_child("start_child", key, flow, input, on_parent_end, labels, priority, run_timeout)
        return self._run(key, effects)

    def start_children(
        self,
        key: str,
        flow: Flow[In, Out],
        inputs: Iterable[In],
        *,
        on_parent_end: Literal["cancel", "leave"] = "cancel",
        labels: Mapping[str, str] | None = None,
        priority: int = 0,
        run_timeout: Duration | None = None,
    ) -> Coroutine[Any, Any, list[ChildHandle[Out]]]:
        """Start a child for each input, many in each commit; see `Context.start_children`."""
        effects = self._start_child("start_children", key, flow, inputs, on_parent_end, labels, priority, run_timeout)
        return self._run(key, effects)

    def result(self, key: str, child: ChildHandle[Out]) -> Coroutine[Any, Any, Out]:
        """Wait for the end of a child; see `Context.result`."""
        return self._run(key, self._result(key, child))

    def results(self, key: str, children: Iterable[ChildHandle[Out]]) -> Coroutine[Any, Any, list[Ok[Out] | Failed]]:
        """Wait for the ends of many children; see `Context.results`."""
        return self._run(key, self._results(key, children))

    def sleep(self, key: str, duration: Duration) -> Coroutine[Any, Any, None]:
        """Sleep (seconds or timedelta) without holding a worker; the end is fixed by the first call."""
        return self._run(key, self._sleep(key, duration))

    def sleep_until(self, key: str, until: datetime) -> Coroutine[Any, Any, None]:
        """Sleep until a moment, which the first call fixes."""
        return self._run(key, self._sleep_until(key, until))

    def wait_for_event(
        self,
        key: str,
        name: str,
        type: type[T],  # noqa: A002
        *,
        timeout: Duration | None = None,
        latch: bool = False,
    ) -> Coroutine[Any, Any, T]:
        """Wait for an event that is published to the run; see `Context.wait_for_event`."""
        return self._run(key, self._wait(key, name, type, timeout, latch))

    def wait_for_topic(
        self,
        key: str,
        name: str,
        type: type[T],  # noqa: A002
        *,
        since: TopicSince = "start",
        timeout: Duration | None = None,
    ) -> Coroutine[Any, Any, T]:
        """Wait for a message of a topic; see `Context.wait_for_topic`."""
        return self._run(key, self._wait_for_topic(key, name, type, since, timeout))

    @overload
    def first_of(self, key: str, a: Way[A], b: Way[B], /) -> Coroutine[Any, Any, First[A | B]]: ...
    @overload
    def first_of(self, key: str, a: Way[A], b: Way[B], c: Way[C], /) -> Coroutine[Any, Any, First[A | B | C]]: ...
    @overload
    def first_of(
        self, key: str, a: Way[A], b: Way[B], c: Way[C], d: Way[D], /
    ) -> Coroutine[Any, Any, First[A | B | C | D]]: ...
    @overload
    def first_of(
        self, key: str, a: Way[A], b: Way[B], c: Way[C], d: Way[D], e: Way[E], /
    ) -> Coroutine[Any, Any, First[A | B | C | D | E]]: ...
    @overload
    def first_of(self, key: str, /, *ways: Way[T]) -> Coroutine[Any, Any, First[T]]: ...
    def first_of(self, key: str, /, *ways: Way[Any]) -> Coroutine[Any, Any, First[Any]]:
        """Wait for the first of these ways: `wf.event(name, type)`, `wf.timer(duration)`, `wf.topic(name, type)`, a child; see `Context.first_of`."""
        return self._run(key, first_of(self._journal, key, ways))

    def random_uuid7(self, key: str) -> Coroutine[Any, Any, str]:
        """A new UUID of version 7, the same at each replay."""
        return self._run(key, self._drawn("random_uuid7", key))

    def random_uint64(self, key: str) -> Coroutine[Any, Any, int]:
        """A random integer from 0 to 2**64 - 1, the same at each replay."""
        return self._run(key, self._drawn("random_uint64", key))

    def now(self, key: str) -> Coroutine[Any, Any, datetime]:
        """The time of the first call, in UTC."""
        return self._run(key, self._drawn("now", key))

    def set_labels(self, key: str, labels: Mapping[str, str | None]) -> Coroutine[Any, Any, None]:
        """Give this run other labels, by which it is found; None removes a label, those that are not named stay."""
        return self._run(key, self._set_labels(key, labels))

    def patched(self, key: str) -> Coroutine[Any, Any, bool]:
        """True if this run comes here for the first time; False if it passed by before this call was in the code: take the old way then."""
        return self._run(key, decider.patched(self._journal, key))

    def _run(self, key: str, call: DurableCall) -> DurableCall:
        self._journal.made.append(key)
        return call
