"""ContextBase: checks what a call of a workflow is given, and makes the coroutine of it that both contexts run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta
from inspect import CO_COROUTINE, iscoroutine
from typing import Any, Literal, NoReturn, TypeVar

from stepflow.errors import CodecError, DefinitionError, StepflowError
from stepflow.model.checks import checked_own_labels, checked_priority, event_problem, topic_problem
from stepflow.model.codec import Codec
from stepflow.model.durations import seconds
from stepflow.model.error_text import cause_of, is_a, traceback_of
from stepflow.model.family import CANCEL, LEAVE
from stepflow.model.flow import Flow
from stepflow.model.retry import RetryPolicy
from stepflow.model.run_key import RunKey
from stepflow.replay import children, decider, fan_out, topics
from stepflow.replay.children import ChildOptions
from stepflow.replay.decider import SECOND, DurableCall
from stepflow.replay.journal import Journal
from stepflow.replay.ways import ChildHandle, EventWay, TimerWay, TopicWay, Way

T = TypeVar("T")
Duration = float | timedelta
TopicSince = Literal["start", "now"] | datetime
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ContextBase:
    """What both contexts share: the identity of the run, and the checks of what is given."""

    def __init__(self, journal: Journal, perform: Callable[[Any], Awaitable[Any]]) -> None:
        self._journal, journal.perform = journal, perform

    @property
    def run_id(self) -> str:
        """The id of the run."""
        return self._journal.run_id

    @property
    def tx(self) -> Any:
        """The connection of the transaction in which a workflow with `atomic=True` runs, `sqlite3.Connection`, `psycopg.Connection` or `AsyncConnection`.

        Give it to steps: `wf.execute("debit/v1", debit, wf.tx, order)`. What they write is committed with what the run records.
        """
        if (connection := self._journal.host.connection()) is None:
            raise self._wrong(
                "tx: this workflow has no transaction: write @workflow(..., atomic=True), or wf.transaction(key, fn)"
            )
        return connection

    def run_key(self, shards: int = 1) -> RunKey:
        """The key by which clients of the Go library `flows` name the run, for so many shards."""
        return RunKey.of(self._journal.flow, self._journal.run_id, shards)

    def continue_as_new(self, input: Any) -> NoReturn:  # noqa: A002
        """Begin anew with another input, under the same id: for a workflow without an end, whose journal would grow for ever.

        What was recorded is dropped; events that no wait has taken, labels and the number of attempts stay. A step that is called with a
        key of the pass before has another `current().key` than there.
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
        kind: str = "step",
        at_most_once: Any = False,
    ) -> DurableCall:
        if awaits and len(self._journal.made) != self._journal.begun:  # calls were made that are not awaited yet
            self._check_arguments("execute" if kind == "step" else kind, key, args)
        if retry is None and timeout is None and at_most_once is False:
            return decider.execute(self._journal, key, fn, args, None, None, renamed, awaits, kind)
        verb = "execute" if kind == "step" else kind
        if retry is not None and not isinstance(retry, RetryPolicy):
            raise self._wrong(f"{verb}({key!r:.200}, retry={retry!r:.80}): give a RetryPolicy, or None")
        if not isinstance(at_most_once, bool):
            raise self._wrong(f"{verb}({key!r:.200}, at_most_once={at_most_once!r:.80}): give True or False")
        if at_most_once and retry is not None:
            raise self._wrong(
                f"{verb}({key!r:.200}): retry= repeats a call, at_most_once=True forbids that: give one of them"
            )
        limit_s = None if timeout is None else self._duration(verb, key, "timeout", timeout)
        return decider.execute(self._journal, key, fn, args, retry, limit_s, renamed, awaits, kind, at_most_once)

    def _check_arguments(self, verb: str, key: str, args: tuple[Any, ...]) -> None:
        """Refuse a call that was not awaited in place of its value."""
        for number, one in enumerate(args, 1):
            if iscoroutine(one):
                raise self._wrong(f"{verb}({key!r:.200}): argument {number} is a call without `await`: await it first")

    def _map(
        self, key: str, fn: Any, items: Iterable[Any], width: Any, fail_after: Any, first: Any, awaits: bool
    ) -> DurableCall:
        for name, value in (("width", width), ("fail_after", fail_after), ("first", first)):
            if (value is not None or name == "width") and (
                isinstance(value, bool) or not isinstance(value, int) or value < 1
            ):
                raise self._wrong(f"map({key!r:.200}, {name}={value!r:.80}): give a whole number from 1 on")
        try:
            iter(items)
        except TypeError:
            raise self._wrong(f"map({key!r:.200}, items={items!r:.80}): give a list, or what can be iterated") from None
        return fan_out.map_items(self._journal, key, fn, items, width, (fail_after, first), awaits)

    def event(self, name: str, type: type[T], *, latch: bool = False) -> Way[T]:  # noqa: A002
        """An event of this name as one of the ways of `first_of`; its value is the payload as a `type`."""
        self._check_event(f"event({name!r:.80})", name)
        try:
            return EventWay(name, Codec(type), latch)
        except CodecError as error:
            raise self._wrong(f"event({name!r:.200}): {error}") from error

    def topic(self, name: str, type: type[T], *, since: TopicSince = "start") -> Way[T]:  # noqa: A002
        """A message of this topic as one of the ways of `first_of`; its value is the payload as a `type`. `since` is that of `wait_for_topic`."""
        return self._topic("topic", f"{name!r:.80}", name, type, since)

    def timer(self, duration: Duration) -> Way[None]:
        """A time (seconds or timedelta) as one of the ways of `first_of`, from its first call on; its value is None."""
        micros = self._micros(f"timer({duration!r:.80})", duration)
        return TimerWay(lambda now: now + micros)

    def _sleep(self, key: str, duration: Duration) -> DurableCall:
        micros = self._micros(f"sleep({key!r:.200}, {duration!r:.80})", duration)
        return decider.sleep_until(self._journal, key, lambda now: now + micros, "sleep")

    def _sleep_until(self, key: str, until: datetime) -> DurableCall:
        if not isinstance(until, datetime) or until.tzinfo is None:
            raise self._wrong(f"sleep_until({key!r:.200}, {until!r:.80}): give a datetime with a time zone")
        due = (until - _EPOCH) // timedelta(microseconds=1)
        return decider.sleep_until(self._journal, key, lambda _now: due, "sleep_until")

    def _wait(self, key: str, name: str, type_: Any, timeout: Duration | None, latch: bool) -> DurableCall:
        self._check_event(f"wait_for_event({key!r:.200}, {name!r:.80})", name)
        limit_s = None if timeout is None else self._duration("wait_for_event", key, "timeout", timeout)
        try:
            codec: Codec[Any] = Codec(type_)
        except CodecError as error:
            raise self._wrong(f"wait_for_event({key!r:.200}): {error}") from error
        return decider.wait_for_event(self._journal, key, name, codec, limit_s, latch)

    def _check_event(self, call: str, name: Any) -> None:
        """Whether an event can have this name; else the wait would never end."""
        if not isinstance(name, str) or not name:
            raise self._wrong(f"{call}: name the event, a non-empty text")
        if problem := event_problem(name):
            raise self._wrong(f"{call}: {problem}")

    def _wait_for_topic(self, key: str, name: str, type_: Any, since: Any, timeout: Duration | None) -> DurableCall:
        limit_s = None if timeout is None else self._duration("wait_for_topic", key, "timeout", timeout)
        way = self._topic("wait_for_topic", f"{key!r:.200}, {name!r:.80}", name, type_, since)
        return topics.wait_for_topic(self._journal, key, way, limit_s)

    def _topic(self, verb: str, given: str, name: Any, type_: Any, since: Any) -> TopicWay[Any]:
        if not isinstance(name, str) or not name:
            raise self._wrong(f"{verb}({given}): name the topic, a non-empty text")
        if problem := topic_problem(name):
            raise self._wrong(f"{verb}({given}): {problem}")
        if isinstance(since, datetime) and since.tzinfo is not None:
            since = (since - _EPOCH) // timedelta(microseconds=1)
        elif since not in ("start", "now"):
            raise self._wrong(f'{verb}({given}, since={since!r:.80}): give "start", "now" or an aware datetime')
        try:
            return TopicWay(name, Codec(type_), since)
        except CodecError as error:
            raise self._wrong(f"{verb}({given}): {error}") from error

    def _set_labels(self, key: str, labels: Any) -> DurableCall:
        try:
            checked_own_labels({k: "" if v is None else v for k, v in labels.items()})
        except (AttributeError, StepflowError) as error:
            raise self._wrong(
                f"set_labels({key!r:.200}, {labels!r:.200}): give a dict of texts; None removes a label ({error})"
            ) from error
        return decider.set_labels(self._journal, key, dict(labels))

    def _drawn(self, verb: str, key: str) -> DurableCall:
        host = self._journal.host
        drawn: dict[str, tuple[Callable[[], str], Callable[[str], Any]]] = {
            "now": (lambda: str(host.now()), _moment),
            "random_uint64": (lambda: str(int.from_bytes(host.random_bytes(8), "big")), int),
            "random_uuid7": (host.uuid7, str),
        }
        return decider.drawn(self._journal, verb, key, *drawn[verb])

    def _micros(self, call: str, duration: Duration) -> int:
        length = duration.total_seconds() if isinstance(duration, timedelta) else duration
        if isinstance(length, bool) or not isinstance(length, int | float) or length != length:
            raise self._wrong(f"{call}: give seconds or a timedelta")
        return round(min(max(length, 0), 2e11) * SECOND)

    def _start_child(
        self,
        verb: str,
        key: str,
        flow: Any,
        given: Any,
        on_parent_end: Any,
        labels: Any,
        priority: Any,
        run_timeout: Any,
    ) -> DurableCall:
        """Start one child, or with `start_children` one for each of the inputs given."""
        if not isinstance(flow, Flow):
            hint = "call .compile() on the chain first" if hasattr(flow, "compile") else "give a flow of any style"
            raise self._wrong(f"{verb}({key!r:.200}, {flow!r:.80}): not a flow; {hint}")
        if on_parent_end not in (CANCEL, LEAVE):
            raise self._wrong(
                f"{verb}({key!r:.200}, on_parent_end={on_parent_end!r:.80}): give {CANCEL!r} or {LEAVE!r}"
            )
        try:
            own, order = checked_own_labels(labels), checked_priority(priority)
            common = ChildOptions(on_parent_end == LEAVE, own, order, run_timeout)
        except StepflowError as error:
            raise self._wrong(f"{verb}({key!r:.200}): {error}") from error
        if verb == "start_child":
            return children.start_child(self._journal, key, flow, given, common)
        return children.start_children(self._journal, key, flow, list(given), common)

    def _result(self, key: str, child: Any) -> DurableCall:
        if not isinstance(child, ChildHandle):
            raise self._wrong(f"result({key!r:.200}, {child!r:.80}): give what wf.start_child returned")
        return children.result(self._journal, key, child)

    def _results(self, key: str, given: Iterable[Any]) -> DurableCall:
        found = list(given)
        for child in found:
            if not isinstance(child, ChildHandle):
                raise self._wrong(f"results({key!r:.200}, [{child!r:.80}]): give what wf.start_child returned")
        return children.results(self._journal, key, found)

    def _duration(self, verb: str, key: str, what: str, given: Any) -> float:
        found, problem = seconds(what, given)
        if problem:
            raise self._wrong(f"{verb}({key!r:.200}): {problem}")
        return found

    def _wrong(self, text: str) -> Exception:
        return self._journal.wrong(DefinitionError(f"{self._journal.flow}: wf.{text}"))


def raised_by(error: RuntimeError) -> BaseException:
    """What a coroutine raised: Python replaces a StopIteration, e.g. of `next()` in a step, by a RuntimeError.

    The traceback of that one ends where the coroutine was resumed; that of one which was raised in a coroutine ends in it, or below.
    """
    cause, trace = cause_of(error), traceback_of(error)
    if type(error) is not RuntimeError or cause is None or not is_a(cause, StopIteration):
        return error
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return error if trace is not None and trace.tb_frame.f_code.co_flags & CO_COROUTINE else cause


def _moment(micros: str) -> datetime:
    """The moment of a recorded number of microseconds UTC."""
    return _EPOCH + timedelta(microseconds=int(micros))
