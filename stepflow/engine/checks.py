"""Checks what callers hand to an engine, before anything is written: each refusal says what was given and what to give."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from inspect import iscoroutinefunction, unwrap
from math import inf, isnan
from typing import Any

from stepflow.drivers.port.store import Driver
from stepflow.engine.clock import FIRST, LAST, Clock, SystemClock, timestamp
from stepflow.errors import DefinitionError, StepflowError
from stepflow.model.checks import checked_id, checked_moment, checked_size, checked_utf8
from stepflow.model.durations import seconds
from stepflow.model.flow import Flow
from stepflow.model.lifecycle import Status
from stepflow.model.limits import Limit, dump
from stepflow.model.run_timeout import run_timeout_us

DEFAULT_KEEP = timedelta(days=30)
MAX_KEY, MOST_LIMITS, MAX_WINDOW_S = 512, 10, 366 * 86_400.0


# In bytes of UTF-8, so that each index entry of every store has room for the names that it combines (PostgreSQL: 2,704 bytes).
ID_BYTES, NAMESPACE_BYTES, NAME_BYTES, DEDUP_BYTES, LIMITS_BYTES = 1000, 512, 500, 1000, 500


def checked_flow(flow: Any, verb: str) -> Flow[Any, Any]:
    """A compiled flow; `verb` is the method that was called."""
    if isinstance(flow, Flow):
        if len(flow.name) * 4 > NAME_BYTES and (size := len(flow.name.encode())) > NAME_BYTES:
            raise DefinitionError(f"{verb}(): the flow's name {flow.name!r:.80} has {size} bytes: at most {NAME_BYTES}")
        return flow
    if hasattr(flow, "compile"):
        hint = "call .compile() on the chain first"
    elif isinstance(flow, list | tuple | set | dict):
        hint = "give the flows one by one, register(*flows)" if verb == "register" else "give one flow"
    else:
        name = ", not its name" * isinstance(flow, str)
        hint = (
            f"give the flow itself{name}: a compiled chain, or a function decorated with @workflow(NAME) or @flow(NAME)"
        )
    raise DefinitionError(f"{verb}({flow!r:.200}): not a flow; {hint}")


def checked_transactions(flow: Flow[Any, Any], driver: Driver) -> None:
    """Raise DefinitionError if functions of the flow need transactions that the stores of this driver do not have."""
    problems = [
        f"{path}: {problem}" for path, is_async in flow.transacted if (problem := transaction_problem(driver, is_async))
    ]
    if problems:
        raise DefinitionError(problems)


def transaction_problem(driver: Driver, is_async: bool) -> str:
    """Why a function cannot have a transaction of this driver's stores; empty if it can."""
    kind = driver.transactions
    if kind == "none":
        served = driver.url.startswith(("http://", "https://"))
        remedy = "open the store itself, by its own URL, if it is one" if served else "use a store"
        return f"{driver.url} has no transactions for functions: {remedy} in SQLite or PostgreSQL"
    if kind == "sync" and is_async:
        return f"{driver.url} has no connection for async functions: make this one sync, it is called in a thread"
    return ""


def checked_new_id(run_id: Any) -> str:
    """The id of a run to be created."""
    return checked_size("id", checked_id(run_id), ID_BYTES)


def is_awaited(tx: Any, *, blocking: bool) -> bool:
    """Whether the statements of the caller's connection are awaited; a `blocking` engine refuses that, before any is sent."""
    execute = unwrap(tx.execute) if callable(getattr(tx, "execute", None)) else None
    if not iscoroutinefunction(execute):
        return False
    if blocking:
        raise TypeError(
            f"tx={tx!r:.100} is asynchronous, and its statements would have to be awaited: use AsyncEngine, or "
            "give a blocking connection of the same database, or a blocking SQLAlchemy Connection or Session"
        )
    return True


def checked_at(at: Any) -> int:
    """A start time as microseconds UTC; one that UTC's calendar does not have becomes its first or last moment."""
    return min(max(timestamp(checked_moment(at)), FIRST), LAST)


def checked_limits(limits: Any) -> list[Limit]:
    """Limits of different keys."""
    if limits == ():
        return []
    given = [limits] if isinstance(limits, Limit) else limits
    try:
        found = list(given)
    except TypeError:
        found = [given]
    for one in found:
        if not isinstance(one, Limit):
            raise StepflowError(
                f'limits={one!r:.80}: give a Limit or several, e.g. Limit("tenant/acme", concurrency=2)'
            )
    keys = [one.key for one in found]
    if len(set(keys)) < len(keys):
        raise StepflowError(f"limits: the keys are {keys!r:.200}: give each key once, a Limit can have both numbers")
    if len(found) > MOST_LIMITS:
        raise StepflowError(f"limits: {len(found)} were given: a run can have {MOST_LIMITS}")
    if (size := len(dump(found).encode())) > LIMITS_BYTES:
        raise StepflowError(
            f"limits: their keys and numbers need {size} bytes, of at most {LIMITS_BYTES}: give shorter keys"
        )
    return found


def checked_run_timeout(flow: Flow[Any, Any], given: Any) -> int:
    """The time limit of a run of this flow in microseconds, which is that of the flow if none is given; 0: none."""
    if given is None:
        return flow.options.run_timeout_us
    limit, problem = run_timeout_us(given)
    if not problem and flow.kind not in ("steps", "workflow"):
        problem = f"run_timeout={given!r:.80}: {flow.name!r} is a flow function, and States of those have no time limit as a whole: let a delay move them on"
    if problem:
        raise StepflowError(problem)
    return limit


def checked_key(key: Any) -> str:
    """A deduplication key."""
    if not isinstance(key, str) or not key or len(key) > MAX_KEY:
        raise StepflowError(f"dedup_key={key!r:.80}: give a non-empty text of at most {MAX_KEY} characters")
    return checked_size("dedup_key", checked_utf8("dedup_key", key), DEDUP_BYTES)


def checked_window(window: Any) -> float:
    """The window of a deduplication key in seconds."""
    value, wrong = seconds("dedup_window", window)
    if not wrong and value > MAX_WINDOW_S:
        wrong = f"dedup_window={window!r:.80}: give at most a year"
    if wrong:
        raise StepflowError(wrong)
    return value


def checked_starts(runs: Any) -> Iterator[tuple[Any, Any]]:
    """The ids and inputs of runs that are started together."""
    for one in runs:
        if not isinstance(one, tuple | list) or len(one) != 2:
            raise StepflowError(
                f'start_many(): {one!r:.80} is no pair: give (id, input) for each run, e.g. ("order-42", Order(42)); None as id makes one'
            )
        yield one[0], one[1]


def checked_timeout(timeout: Any) -> float | None:
    """How long to wait in seconds, None for as long as it takes; one that is over already is 0."""
    given = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
    if given is None or given == inf:
        return None
    if isinstance(given, bool) or not isinstance(given, int | float) or isnan(given):
        raise StepflowError(
            f"timeout={timeout!r:.80}: give seconds or a timedelta, or None to wait as long as it takes"
        )
    return max(0.0, float(given))


def checked_concurrency(concurrency: Any) -> int:
    """How many runs to advance at the same time."""
    if isinstance(concurrency, bool) or not isinstance(concurrency, int) or concurrency < 1:
        raise StepflowError(
            f"concurrency={concurrency!r:.80}: give the number of runs to advance at the same time, e.g. 64"
        )
    return concurrency


def checked_namespace(namespace: Any) -> str:
    """The name of a set of runs."""
    if not isinstance(namespace, str) or "\0" in namespace or len(namespace) > MAX_KEY:
        raise StepflowError(
            f"namespace={namespace!r:.80}: give a text of at most {MAX_KEY} characters without NUL; the usual one is ''"
        )
    return checked_size("namespace", checked_utf8("namespace", namespace), NAMESPACE_BYTES)


def checked_keep(keep: Any, retention: Any = ...) -> timedelta | None:
    """How long to keep runs that ended; None for ever. `retention` is another name of it, not given: `...`."""
    if retention is ...:
        return _checked_span("keep", keep, "None to keep every run")
    if keep != DEFAULT_KEEP:
        raise StepflowError("keep= and retention= are two names of one option: give keep= alone")
    return _checked_span("retention", retention, "None to keep every run")


def checked_keep_ids(keep_ids: Any) -> timedelta | None:
    """How long to keep the ids of pruned runs; None: not at all."""
    return _checked_span("keep_ids", keep_ids, "None to let an id be started again as soon as its run is pruned")


def _checked_span(name: str, value: Any, otherwise: str) -> timedelta | None:
    if value is not None and (not isinstance(value, timedelta) or value < timedelta(0)):
        raise StepflowError(f"{name}={value!r:.80}: give a timedelta, e.g. timedelta(days=30), or {otherwise}")
    return value


def checked_clock(clock: Any) -> Clock:
    """A clock; None for that of the system."""
    if clock is None:
        return SystemClock()
    if not isinstance(clock, Clock):
        raise StepflowError(f"clock={clock!r:.80}: give a VirtualClock() of stepflow.testing, or leave it out")
    return clock


def checked_statuses(status: Any, is_open: Any) -> frozenset[str] | None:
    """The wanted statuses, None for all: one name, or several, of runs that are open, or of runs that have ended."""
    if is_open is not None and not isinstance(is_open, bool):
        raise StepflowError(
            f"open={is_open!r:.80}: give True (runs that have not ended), False (that have), or leave it out"
        )
    if status is None and is_open is None:
        return None
    given = list(Status) if status is None else [status] if isinstance(status, str) else status
    one = status
    try:
        wanted = set()
        for one in given:
            wanted.add(Status(one))
    except (ValueError, TypeError):
        raise StepflowError(f"status {one!r:.80}: the statuses are {', '.join(Status)}; give one or several") from None
    return frozenset(one.value for one in wanted if is_open is None or one.final is not is_open)


def checked_age(older_than: Any) -> timedelta:
    """An age."""
    if not isinstance(older_than, timedelta) or older_than < timedelta(0):
        raise StepflowError(
            f"older_than={older_than!r:.80}: give a timedelta that is not negative, e.g. timedelta(days=30)"
        )
    return older_than
