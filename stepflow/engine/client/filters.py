"""RunFilter: which runs are meant; Page: a part of a list of runs, and the cursor of the next one."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any, Literal, TypeVar, get_args

from attrs import Factory, evolve, field, frozen

from stepflow.drivers.port.commit import Record
from stepflow.drivers.port.queries import ListKey, RunQuery, in_range
from stepflow.engine.checks import checked_statuses
from stepflow.engine.client.info import error_of, position_of
from stepflow.engine.clock import timestamp
from stepflow.errors import NotFound, StepflowError
from stepflow.model.checks import checked_id, checked_labels, checked_utf8
from stepflow.model.family import PARENT
from stepflow.model.keywords import keywords
from stepflow.model.lifecycle import OPEN, Status, status_of
from stepflow.model.own_flows import OWN_FLOWS
from stepflow.model.state import POSITION, STYLE, Transition
from stepflow.model.step_names import is_named

T = TypeVar("T")
Order = Literal["created", "id", "updated", "due"]
MAY_HAVE_ERROR = frozenset({*OPEN, Status.FAILED.value})  # statuses


class Page(list[T]):
    """A list of a part of what was asked for; `next` is the cursor of the part that follows, None if nothing does.

    A page that has a `next` may be shorter than asked for, even empty: no call looks at more than a bounded number of runs.
    """

    next: str | None

    def __init__(self, items: Iterable[T] = (), next: str | None = None) -> None:  # noqa: A002
        super().__init__(items)
        self.next = next


def _is_text(_filter: Any, attribute: Any, value: Any) -> None:
    if value is not None and (not isinstance(value, str) or not value):
        raise StepflowError(f"{attribute.name}={value!r:.80}: give a non-empty text, or leave it out")
    checked_utf8(attribute.name, value or "")


def _is_time(_filter: Any, attribute: Any, value: Any) -> None:
    if value is not None and (not isinstance(value, datetime) or value.tzinfo is None):
        now = "datetime.now(UTC) - timedelta(days=1)"
        raise StepflowError(f"{attribute.name}={value!r:.80}: give an aware datetime, e.g. {now}, or leave it out")


def _statuses(status: Any) -> Any:
    """Statuses that can be read more than once; one that is none is refused."""
    given = status if isinstance(status, str) or not isinstance(status, Iterable) else tuple(status)
    checked_statuses(given, None)
    return given if given is None or isinstance(given, str) else frozenset(str(one) for one in given)


def _is_parent(_filter: Any, _attribute: Any, value: Any) -> None:
    if value is not None:
        checked_id(value)


@keywords()
@frozen(kw_only=True)
class RunFilter:
    """Which runs are meant: those that meet every condition that is given; without any, all runs.

    `flow` is the name of the flow that was started. `status` is one status or several; `open=True` leaves out the runs that have
    ended, `open=False` all others. `labels` must all be equal. `id_prefix` begins the id. `created_since` and `created_until` are
    aware datetimes, the second one is left out of the range; `updated_since` and `updated_until` are the same for the last revision.
    `error_type` is the class name of the error that ended the run or that led to its present retry, `error_text` a part of
    `"Class: message"` of it. `position` is one of the
    strings of its position, e.g. `"completed:order/pay"`, or names a step: `"pay"` (also `"group/pay"` or its path, `"order/pay"`) finds the runs of a chain that did
    this step last, and those with an error of it; of a workflow `"pay"` is the key of a call at which it stands; of a flow function the one that it goes to. `parent` is the id of the run that started it as its child. A wrong value raises StepflowError at once.
    """

    flow: str | None = field(default=None, validator=_is_text)
    status: str | Iterable[str] | None = field(default=None, converter=_statuses)
    open: bool | None = field(default=None)
    labels: Mapping[str, str] = field(default=None, converter=checked_labels)
    id_prefix: str | None = field(default=None, validator=_is_text)
    created_since: datetime | None = field(default=None, validator=_is_time)
    created_until: datetime | None = field(default=None, validator=_is_time)
    updated_since: datetime | None = field(default=None, validator=_is_time)
    updated_until: datetime | None = field(default=None, validator=_is_time)
    error_type: str | None = field(default=None, validator=_is_text)
    error_text: str | None = field(default=None, validator=_is_text)
    position: str | None = field(default=None, validator=_is_text)
    parent: str | None = field(default=None, validator=_is_parent)

    def __attrs_post_init__(self) -> None:
        checked_statuses(self.status, self.open)


def statuses_of(wanted: RunFilter) -> frozenset[str] | None:
    """The names of the statuses that the runs may have; None for any, or for any open one."""
    found = checked_statuses(wanted.status, None if wanted.open and wanted.status is None else wanted.open)
    if wanted.error_type is wanted.error_text is None:
        return found
    return MAY_HAVE_ERROR if found is None else found & MAY_HAVE_ERROR


def is_indexed(wanted: RunFilter) -> bool:
    """Whether stores test every condition."""
    return wanted.error_type is wanted.error_text is wanted.position is None


def query_of(wanted: RunFilter, now: int) -> RunQuery:
    """The query for the runs that meet the conditions which stores can test."""
    return RunQuery(
        now,
        wanted.flow,
        statuses_of(wanted),
        _labels_of(wanted),
        open=wanted.open is True,
        prefix=wanted.id_prefix or "",
        since=_micros(wanted.created_since),
        until=_micros(wanted.created_until),
        changed_since=_micros(wanted.updated_since),
        changed_until=_micros(wanted.updated_until),
    )


def of_flow(wanted: RunFilter, flow: str) -> RunFilter:
    """The filter for those of the runs that are of this flow."""
    if wanted.flow not in (None, flow):
        raise StepflowError(
            f"flow={wanted.flow!r:.80} in the filter: the runs to move are of flow {flow!r}, leave it out"
        )
    return evolve(wanted, flow=flow)


def narrowed(wanted: RunFilter, statuses: Iterable[Status]) -> RunFilter:
    """The filter for those of the runs that have one of these statuses."""
    mine = checked_statuses(wanted.status, wanted.open)
    return evolve(wanted, status={str(one) for one in statuses if mine is None or str(one) in mine}, open=None)


def means_flow(wanted: RunFilter, flow: str) -> bool:
    """Whether a filter can mean runs of this flow: those of the library's own flows only if it names the flow."""
    return flow not in OWN_FLOWS if wanted.flow is None else flow == wanted.flow


def without_own(counts: Mapping[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    """Numbers of runs by flow, without the library's own flows."""
    return {flow: of_flow for flow, of_flow in counts.items() if flow not in OWN_FLOWS}


def matches(wanted: RunFilter, record: Record, now: int, paused: Collection[str]) -> bool:
    """Whether a run meets every condition; `paused` are the names of the flows that are paused."""
    state, statuses, flow_paused = record.state, statuses_of(wanted), record.created.flow in paused
    return (
        means_flow(wanted, record.created.flow)
        and (statuses is None or status_of(state, record.row, now, flow_paused=flow_paused).value in statuses)
        and not (wanted.open is True and state.transition.status)
        and _labels_of(wanted).items() <= state.labels.items()
        and state.id.startswith(wanted.id_prefix or "")
        and in_range(record.created.created_at, _micros(wanted.created_since), _micros(wanted.created_until))
        and in_range(state.committed_at, _micros(wanted.updated_since), _micros(wanted.updated_until))
        and _has_error(state.transition, wanted.error_type, wanted.error_text)
        and _is_at(state.transition, record.created.flow, wanted.position)
    )


def _labels_of(wanted: RunFilter) -> dict[str, str]:
    return {**wanted.labels, **({} if wanted.parent is None else {PARENT: wanted.parent})}


def _has_error(transition: Transition, error_type: str | None, error_text: str | None) -> bool:
    if error_type is error_text is None:
        return True
    error = error_of(transition)
    if error is None or (error_type is not None and error.type != error_type):
        return False
    return error_text is None or error_text in f"{error.type}: {error.message}"


def _is_at(transition: Transition, flow: str, position: str | None) -> bool:
    """Whether it is at this position, or has an error of this step."""
    if position is None:
        return True
    strings = position_of(transition) or [transition.to]
    error = error_of(transition)
    steps = [error.step] if error is not None and error.step else []
    if position in strings or position in steps or position in [f"{flow}/{step}" for step in steps]:
        return True
    if STYLE in transition.annotations or POSITION not in transition.annotations:
        return position in [text.partition(":")[2] for text in strings]
    paths = [path.removeprefix(f"{flow}/") for path in (*(text.rpartition(":")[2] for text in strings), *steps)]
    names = (position, position.removeprefix(f"{flow}/"))
    return any(is_named(path, name) for path in paths for name in names)


def checked_filter(given: Any, conditions: Mapping[str, Any]) -> RunFilter:
    """The filter of a call that got a filter or single conditions."""
    if given is None:
        return RunFilter(**conditions)
    if not isinstance(given, RunFilter):
        raise StepflowError(
            f"{given!r:.80} is no filter: give RunFilter(...), e.g. RunFilter(flow='order', status='failed')"
        )
    if conditions:
        names = ", ".join(f"{name}=" for name in conditions)
        raise StepflowError(f"a filter is given and {names} too: put all conditions into RunFilter(...)")
    return given


def _micros(at: datetime | None) -> int | None:
    return None if at is None else timestamp(at)


@frozen
class PageCursor:
    """Where a list goes on: behind `key`, in this order; of a list by update no revision after `until_rev`, of one by due time no run in `seen`."""

    order: Order
    ascending: bool
    key: ListKey
    until_rev: int = 0
    seen: frozenset[bytes] = Factory(frozenset)

    def dump(self) -> str:
        """The text of the cursor."""
        seen = urlsafe_b64encode(b"".join(sorted(self.seen))).decode()
        values = [self.order, self.ascending, *self.key, self.until_rev, seen]
        return urlsafe_b64encode(json.dumps(values, separators=(",", ":")).encode()).decode().rstrip("=")


SEEN_BYTES = 6  # of the digest of an id


def parse_cursor(text: Any, order: Order, ascending: bool) -> PageCursor:
    """The cursor of a text, of a list in this order. Raises NotFound for another one."""
    try:
        values = json.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        key = _number(values[2]), checked_id(values[3]) if values[3] else ""
        found = PageCursor(values[0], values[1], key, _number(values[4]), _seen(values[5]))
    except (TypeError, ValueError, IndexError, KeyError, Error, RecursionError, StepflowError):
        raise NotFound(f"cursor={text!r:.80}: give the `next` of a page of runs()") from None
    if (found.order, found.ascending) != (order, ascending):
        way = "ascending" if found.ascending else "descending"
        raise NotFound(
            f"cursor={text!r:.40}: it is of a list by {found.order}, {way}: give the same order= and ascending= for each page"
        )
    return found


def _number(value: Any) -> int:
    """A number of 64 bits, as stores have them."""
    if type(value) is not int or not -(1 << 63) <= value < 1 << 63:
        raise ValueError(f"{value!r:.40} is no number of a cursor")
    return value


def _seen(text: str) -> frozenset[bytes]:
    digests = urlsafe_b64decode(text)
    return frozenset(digests[at : at + SEEN_BYTES] for at in range(0, len(digests), SEEN_BYTES))


def checked_order(order: Any, ascending: Any) -> Order:
    """The order of a list."""
    orders: tuple[Order, ...] = get_args(Order)
    if order not in orders:
        raise StepflowError(f"order={order!r:.80}: give one of {', '.join(orders)}")
    if not isinstance(ascending, bool):
        raise StepflowError(f"ascending={ascending!r:.80}: give True or False")
    found: Order = order
    return found
