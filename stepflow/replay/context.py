"""Context: the durable calls of a sync workflow; thin shells around the coroutines of the decider."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Literal, TypeVar, TypeVarTuple, overload

from stepflow.model.flow import Flow
from stepflow.model.retry import RetryPolicy
from stepflow.replay import decider
from stepflow.replay.calls import ContextBase, Duration, TopicSince, raised_by
from stepflow.replay.decider import DurableCall
from stepflow.replay.first_of import first_of
from stepflow.replay.journal import Journal
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


class Context(ContextBase):
    """The durable calls of a sync workflow. Each has a `key`, its identity in the journal of the run: a text that no other call of the
    workflow has, e.g. `"charge/v1"`. What a call returned once it returns at each replay.
    """

    def __init__(self, journal: Journal, perform: Callable[[Any], Any]) -> None:
        async def performed(effect: Any) -> Any:
            return perform(effect)

        super().__init__(journal, performed)

    def execute(
        self,
        key: str,
        fn: Callable[[*Ts], T],
        *args: *Ts,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
        renamed: str | None = None,
        at_most_once: bool = False,
    ) -> T:
        """Call `fn(*args)` as a step: its value is durable before the workflow goes on, and it is called no more after that.

        The value is restored from `fn`'s return annotation, also at first; without one only plain JSON values pass.
        A step that raises is tried again as `retry` says, where the run sleeps in between; the failure of the last attempt is
        recorded and raised here. `timeout` (seconds or timedelta) is the time of each attempt. `renamed` is the former
        `__qualname__` of `fn`, for runs that recorded it.

        With `at_most_once` a call that was interrupted (by a death, a stop, its time limit or the loss of its claim) is not made
        again: the run is blocked until `run.resolve` or `run.resolve_failed` says how it ended. A cancel lets the call end.
        """
        return self._run(self._execute(key, fn, args, retry, timeout, renamed, False, at_most_once=at_most_once))  # type: ignore[no-any-return]

    def transaction(
        self,
        key: str,
        fn: Callable[[Any, *Ts], T],
        *args: *Ts,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
        renamed: str | None = None,
    ) -> T:
        """Call `fn(connection, *args)` as a step that writes tables of yours in the store of the run: they and the record of the value are committed together.

        `connection` is a `sqlite3.Connection` or a `psycopg.Connection` inside of a transaction, which is committed when `fn` returns, and
        rolled back when it raises. After a deadlock `fn` is called again. On SQLite `timeout` is 5 s unless it is given: `fn` keeps
        all other writers out. The other options are those of `execute`.
        """
        return self._run(self._execute(key, fn, args, retry, timeout, renamed, awaits=False, kind="transaction"))  # type: ignore[no-any-return]

    def map(
        self,
        key: str,
        fn: Callable[[Item], T],
        items: Iterable[Item],
        *,
        width: int = 8,
        fail_after: int | None = None,
        first: int | None = None,
    ) -> list[Ok[T] | Failed]:
        """Call `fn(item)` as a step for each item, at most `width` at a time, in threads; the results in the order of the items.

        Each result is recorded when its call has ended. With `fail_after` no call begins after so many failures, with `first` none
        after so many values, and those that run are given up: such items are Failed with `cancelled`.
        """
        return self._run(self._map(key, fn, items, width, fail_after, first, awaits=False))  # type: ignore[no-any-return]

    @overload
    def start_child(
        self, key: str, flow: Flow[None, Out], input: None = None, *, on_parent_end: Literal["cancel", "leave"] = "cancel",
        labels: Mapping[str, str] | None = None, priority: int = 0, run_timeout: Duration | None = None,
    ) -> ChildHandle[Out]: ...  # fmt: skip
    @overload
    def start_child(
        self, key: str, flow: Flow[In, Out], input: In, *, on_parent_end: Literal["cancel", "leave"] = "cancel",
        labels: Mapping[str, str] | None = None, priority: int = 0, run_timeout: Duration | None = None,
    ) -> ChildHandle[Out]: ...  # fmt: skip
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
    ) -> ChildHandle[Out]:
        """Start a run of another flow, of any style, as a child of this one; its id is `<id of this run>/<key>`.

        It is started once, whatever crashes. When this run ends, however it does, a child that is still open is cancelled; with
        `on_parent_end="leave"` it goes on. `result` waits for it. `run_timeout` (seconds or timedelta) is its time limit, as for `start`.
        """
        effects = self._start_child("start_child", key, flow, input, on_parent_end, labels, priority, run_timeout)
        return self._run(effects)  # type: ignore[no-any-return]

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
    ) -> list[ChildHandle[Out]]:
        """Start a child for each input, many in each commit, with the ids `<id of this run>/<key>[0]` and so on; see `start_child`."""
        effects = self._start_child("start_children", key, flow, inputs, on_parent_end, labels, priority, run_timeout)
        return self._run(effects)  # type: ignore[no-any-return]

    def result(self, key: str, child: ChildHandle[Out]) -> Out:
        """Wait for the end of a child, without holding a worker; what it returned. Raises RunFailed or RunCancelled."""
        return self._run(self._result(key, child))  # type: ignore[no-any-return]

    def results(self, key: str, children: Iterable[ChildHandle[Out]]) -> list[Ok[Out] | Failed]:
        """Wait for the ends of many children; an Ok or a Failed for each, in order."""
        return self._run(self._results(key, children))  # type: ignore[no-any-return]

    def sleep(self, key: str, duration: Duration) -> None:
        """Sleep (seconds or timedelta) without holding a worker; the end is fixed by the first call."""
        self._run(self._sleep(key, duration))

    def sleep_until(self, key: str, until: datetime) -> None:
        """Sleep until a moment, which the first call fixes."""
        self._run(self._sleep_until(key, until))

    def wait_for_event(
        self,
        key: str,
        name: str,
        type: type[T],  # noqa: A002
        *,
        timeout: Duration | None = None,
        latch: bool = False,
    ) -> T:
        """Wait for an event that is published to the run, without holding a worker; its payload as a `type`.

        Each event is taken once, in the order of publishing, also one that came before the wait. With `latch` the newest one is taken, and
        the older ones are dropped. Raises TimedOut if none was published within `timeout` (seconds or timedelta).
        """
        return self._run(self._wait(key, name, type, timeout, latch))  # type: ignore[no-any-return]

    def wait_for_topic(
        self,
        key: str,
        name: str,
        type: type[T],  # noqa: A002
        *,
        since: TopicSince = "start",
        timeout: Duration | None = None,
    ) -> T:
        """Wait for a message of a topic, which `engine.publish_topic` publishes once for all runs, without holding a worker; its payload as a `type`.

        The first message that no wait of this run has taken, also one that came before the wait: one that was published since the run began
        (`start`), since this call (`now`), or since an aware datetime, and that is still kept. Raises TimedOut if none was published within
        `timeout` (seconds or timedelta).
        """
        return self._run(self._wait_for_topic(key, name, type, since, timeout))  # type: ignore[no-any-return]

    @overload
    def first_of(self, key: str, a: Way[A], b: Way[B], /) -> First[A | B]: ...
    @overload
    def first_of(self, key: str, a: Way[A], b: Way[B], c: Way[C], /) -> First[A | B | C]: ...
    @overload
    def first_of(self, key: str, a: Way[A], b: Way[B], c: Way[C], d: Way[D], /) -> First[A | B | C | D]: ...
    @overload
    def first_of(
        self, key: str, a: Way[A], b: Way[B], c: Way[C], d: Way[D], e: Way[E], /
    ) -> First[A | B | C | D | E]: ...
    @overload
    def first_of(self, key: str, /, *ways: Way[T]) -> First[T]: ...
    def first_of(self, key: str, /, *ways: Way[Any]) -> First[Any]:
        """Wait for the first of these ways: `wf.event(name, type)`, `wf.timer(duration)`, `wf.topic(name, type)`, a child; which one it was, and its value.

        The earliest of these events and ends of children before the time of a timer, else the timer that ends first. The others are kept for
        later waits. The value of a child is what it returned; if it did not complete, that is raised as `result` does.
        """
        return self._run(first_of(self._journal, key, ways))  # type: ignore[no-any-return]

    def random_uuid7(self, key: str) -> str:
        """A new UUID of version 7, the same at each replay."""
        return self._run(self._drawn("random_uuid7", key))  # type: ignore[no-any-return]

    def random_uint64(self, key: str) -> int:
        """A random integer from 0 to 2**64 - 1, the same at each replay."""
        return self._run(self._drawn("random_uint64", key))  # type: ignore[no-any-return]

    def now(self, key: str) -> datetime:
        """The time of the first call, in UTC."""
        return self._run(self._drawn("now", key))  # type: ignore[no-any-return]

    def set_labels(self, key: str, labels: Mapping[str, str | None]) -> None:
        """Give this run other labels, by which it is found; None removes a label, those that are not named stay."""
        self._run(self._set_labels(key, labels))

    def patched(self, key: str) -> bool:
        """True if this run comes here for the first time; False if it passed by before this call was in the code: take the old way then."""
        return self._run(decider.patched(self._journal, key))  # type: ignore[no-any-return]

    def _run(self, call: DurableCall) -> Any:
        try:
            call.send(None)
        except StopIteration as stop:
            return stop.value
        except RuntimeError as error:
            raised = raised_by(error)
        else:
            raise AssertionError("a call of a sync workflow awaited something that waits")
        raise raised
