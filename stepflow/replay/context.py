"""Context and AsyncContext: the durable calls of a workflow; thin shells around the generators of the decider."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn, TypeVar, TypeVarTuple, overload

from stepflow.errors import CodecError, DefinitionError
from stepflow.model.codec import Codec
from stepflow.model.durations import seconds
from stepflow.model.retry import RetryPolicy
from stepflow.replay import decider, fan_out
from stepflow.replay.decider import SECOND, Effects
from stepflow.replay.journal import Journal, Many, Note, StepCall
from stepflow.replay.results import Failed, Ok

T = TypeVar("T")
Item = TypeVar("Item")
Ts = TypeVarTuple("Ts")
Duration = float | timedelta
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ContextBase:
    """What both contexts share: the identity of the run, and the checks of what is given."""

    def __init__(self, journal: Journal, perform: Callable[[StepCall | Many | Note], Any]) -> None:
        self._journal, self._perform = journal, perform

    @property
    def run_id(self) -> str:
        """The id of the run."""
        return self._journal.run_id

    def continue_as_new(self, input: Any) -> NoReturn:  # noqa: A002
        """Begin anew with another input, under the same id: for a workflow without an end, whose journal would grow for ever.

        What was recorded is dropped; events that no wait has taken, labels and the number of attempts stay.
        """
        codec = self._journal.codec
        try:
            text = codec.encode_input(input)
        except CodecError as error:
            raise self._wrong(f"continue_as_new(): {error}") from error
        raise decider.continue_as_new(self._journal, text)

    def _execute(
        self,
        key: str,
        fn: Any,
        args: tuple[Any, ...],
        retry: Any,
        timeout: Any,
        renamed: str | None,
        awaits: bool,
    ) -> Effects:
        if retry is not None and not isinstance(retry, RetryPolicy):
            raise self._wrong(f"execute({key!r:.200}, retry={retry!r:.80}): give a RetryPolicy, or None")
        limit_s = None if timeout is None else self._duration("execute", key, "timeout", timeout)
        return decider.execute(self._journal, key, fn, args, retry, limit_s, renamed, awaits)

    def _map(
        self, key: str, fn: Any, items: Iterable[Any], width: Any, fail_after: Any, first: Any, awaits: bool
    ) -> Effects:
        for name, value in (("width", width), ("fail_after", fail_after), ("first", first)):
            if (value is not None or name == "width") and (
                isinstance(value, bool) or not isinstance(value, int) or value < 1
            ):
                raise self._wrong(f"map({key!r:.200}, {name}={value!r:.80}): give a whole number from 1 on")
        return fan_out.map_items(self._journal, key, fn, items, width, (fail_after, first), awaits)

    def _sleep(self, key: str, duration: Duration) -> Effects:
        length = duration.total_seconds() if isinstance(duration, timedelta) else duration
        if isinstance(length, bool) or not isinstance(length, int | float) or length != length:
            raise self._wrong(f"sleep({key!r:.200}, {duration!r:.80}): give seconds or a timedelta")
        micros = round(min(max(length, 0), 2e11) * SECOND)
        return decider.sleep_until(self._journal, key, lambda now: now + micros, "sleep")

    def _sleep_until(self, key: str, until: datetime) -> Effects:
        if not isinstance(until, datetime) or until.tzinfo is None:
            raise self._wrong(f"sleep_until({key!r:.200}, {until!r:.80}): give a datetime with a time zone")
        due = (until - _EPOCH) // timedelta(microseconds=1)
        return decider.sleep_until(self._journal, key, lambda _now: due, "sleep_until")

    def _wait(self, key: str, name: str, type_: Any, timeout: Duration | None, latch: bool) -> Effects:
        limit_s = None if timeout is None else self._duration("wait_for_event", key, "timeout", timeout)
        try:
            codec: Codec[Any] = Codec(type_)
        except CodecError as error:
            raise self._wrong(f"wait_for_event({key!r:.200}): {error}") from error
        return decider.wait_for_event(self._journal, key, name, codec, limit_s, latch)

    def _drawn(self, verb: str, key: str) -> Effects:
        host = self._journal.host
        draw = {
            "now": lambda: str(host.now()),
            "random_uint64": lambda: str(int.from_bytes(host.random_bytes(8), "big")),
            "random_uuid7": host.uuid7,
        }[verb]
        return decider.drawn(self._journal, verb, key, draw)

    def _duration(self, verb: str, key: str, what: str, given: Any) -> float:
        found, problem = seconds(what, given)
        if problem:
            raise self._wrong(f"{verb}({key!r:.200}): {problem}")
        return found

    def _wrong(self, text: str) -> Exception:
        return self._journal.wrong(DefinitionError(f"{self._journal.flow}: wf.{text}"))


class Context(ContextBase):
    """The durable calls of a sync workflow. Each has a `key`, its identity in the journal of the run: a text that no other call of the
    workflow has, e.g. `"charge/v1"`. What a call returned once it returns at each replay.
    """

    def execute(
        self,
        key: str,
        fn: Callable[[*Ts], T],
        *args: *Ts,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
        renamed: str | None = None,
    ) -> T:
        """Call `fn(*args)` as a step: its value is durable before the workflow goes on, and it is called no more after that.

        The value is restored from `fn`'s return annotation, also at first; without one only plain JSON values pass.
        A step that raises is tried again as `retry` says, where the run sleeps in between; the failure of the last attempt is
        recorded and raised here. `timeout` (seconds or timedelta) is the time of each attempt. `renamed` is the former
        `__qualname__` of `fn`, for runs that recorded it.
        """
        return self._run(self._execute(key, fn, args, retry, timeout, renamed, awaits=False))  # type: ignore[no-any-return]

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

    def random_uuid7(self, key: str) -> str:
        """A new UUID of version 7, the same at each replay."""
        return self._run(self._drawn("random_uuid7", key))  # type: ignore[no-any-return]

    def random_uint64(self, key: str) -> int:
        """A random integer from 0 to 2**64 - 1, the same at each replay."""
        return int(self._run(self._drawn("random_uint64", key)))

    def now(self, key: str) -> datetime:
        """The time of the first call, in UTC."""
        return _moment(self._run(self._drawn("now", key)))

    def patched(self, key: str) -> bool:
        """True if this run comes here for the first time; False if it passed by before this call was in the code: take the old way then."""
        return self._run(decider.patched(self._journal, key))  # type: ignore[no-any-return]

    def _run(self, effects: Effects) -> Any:
        perform = self._perform
        try:
            effect = next(effects)
            while True:
                try:
                    done = perform(effect)
                except BaseException as error:
                    self._journal.broke_off(error)
                    raise
                effect = effects.send(done)
        except StopIteration as stop:
            return stop.value
        except RuntimeError as error:
            raised = _own(error)
        raise raised


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
    ) -> Coroutine[Any, Any, T]: ...
    def execute(  # type: ignore[misc]  # mypy compares *args: Any with *args: *Ts
        self,
        key: str,
        fn: Callable[..., Any],
        *args: Any,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
        renamed: str | None = None,
    ) -> Coroutine[Any, Any, Any]:
        """Call the step `fn(*args)`, async or sync (in a thread); see `Context.execute`."""
        return self._run(key, self._execute(key, fn, args, retry, timeout, renamed, awaits=True))

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

    def random_uuid7(self, key: str) -> Coroutine[Any, Any, str]:
        """A new UUID of version 7, the same at each replay."""
        return self._run(key, self._drawn("random_uuid7", key))

    def random_uint64(self, key: str) -> Coroutine[Any, Any, int]:
        """A random integer from 0 to 2**64 - 1, the same at each replay."""
        return self._run(key, self._drawn("random_uint64", key), int)

    def now(self, key: str) -> Coroutine[Any, Any, datetime]:
        """The time of the first call, in UTC."""
        return self._run(key, self._drawn("now", key), _moment)

    def patched(self, key: str) -> Coroutine[Any, Any, bool]:
        """True if this run comes here for the first time; False if it passed by before this call was in the code: take the old way then."""
        return self._run(key, decider.patched(self._journal, key))

    def _run(
        self, key: str, effects: Effects, restored: Callable[[Any], Any] | None = None
    ) -> Coroutine[Any, Any, Any]:
        journal = self._journal
        journal.made += 1
        journal.unawaited[journal.made] = key
        return self._awaited(journal.made, effects, restored)

    async def _awaited(self, number: int, effects: Effects, restored: Callable[[Any], Any] | None) -> Any:
        del self._journal.unawaited[number]
        perform = self._perform
        try:
            effect = next(effects)
            while True:
                try:
                    done = await perform(effect)
                except BaseException as error:
                    self._journal.broke_off(error)
                    raise
                effect = effects.send(done)
        except StopIteration as stop:
            return stop.value if restored is None else restored(stop.value)
        except RuntimeError as error:
            raised = _own(error)
        raise raised


def _own(error: RuntimeError) -> BaseException:
    """What a generator raised: Python replaces a StopIteration, e.g. of `next()` in a step, by a RuntimeError."""
    return error.__cause__ if type(error.__cause__) is StopIteration else error


def _moment(micros: str) -> datetime:
    return _EPOCH + timedelta(microseconds=int(micros))
