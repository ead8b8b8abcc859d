"""The values of the port as JSON, for stores that are called over a network.

A named tuple is a list of its fields, a Transition its stored text, another record an object of those that differ from their
defaults. Where one of several classes may stand, a pair names it. Nothing is converted: a number where a text belongs is refused.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache, lru_cache
from types import MappingProxyType, NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn

from stepflow import errors
from stepflow.drivers.port import commit as parts
from stepflow.drivers.port.delays import DataQuery, DataWrite, Delay, DelayQuery, StoredData
from stepflow.drivers.port.deltas import ExchangeParts
from stepflow.drivers.port.journal import JournalQuery, JournalRow
from stepflow.drivers.port.pauses import FlowPause, Pause, PausedFlowRow, PausedFlowsQuery
from stepflow.drivers.port.pruning import Pruned, PrunedId
from stepflow.drivers.port.queries import (
    Condition,
    DueSummary,
    EndedQuery,
    HistoriesQuery,
    HistoryQuery,
    LimitUsageQuery,
    ListKey,
    NotDueQuery,
    OwnerQuery,
    PostConflict,
    PrunedQuery,
    Revision,
    RunList,
    RunQuery,
    Tally,
    TallyQuery,
)
from stepflow.drivers.port.schedules import ScheduleChange, ScheduleEdit, ScheduleQuery, ScheduleRow
from stepflow.drivers.port.step import Append, Step
from stepflow.errors import StepflowError, StoreError
from stepflow.model.cache import BoundedCache, size_of_texts
from stepflow.model.lifecycle import QueueRow
from stepflow.model.limits import LimitUsage
from stepflow.model.limits import dump as dump_limits
from stepflow.model.limits import parse as parse_limits
from stepflow.model.state import DAMAGED, State, Transition, Unreadable, checked_map

ANSWERS: Mapping[type[Any], Any] = MappingProxyType(
    {
        HistoryQuery: list[Revision],
        HistoriesQuery: list[tuple[State, ...]],
        RunQuery: RunList,
        TallyQuery: list[Tally],
        NotDueQuery: list[int],
        EndedQuery: list[str],
        LimitUsageQuery: list[LimitUsage],
        OwnerQuery: list[parts.Peer],
        PrunedQuery: list[PrunedId],
        DelayQuery: list[Delay],
        DataQuery: list[StoredData],
        JournalQuery: list[tuple[JournalRow, ...]],
        ScheduleQuery: list[ScheduleRow],
        PausedFlowsQuery: list[PausedFlowRow],
    }
)
"""Query -> the type of its answer."""

ENCODED = [
    *(parts.Commit, parts.Write, parts.Created, parts.Fence, parts.Enqueue, parts.Dequeue, parts.Event, parts.DedupKey),
    *(parts.Cancel, parts.Placeholder, parts.RevOf, parts.DataRevOf, parts.StackedOf, parts.Committed, parts.Release),
    *(
        parts.Record,
        parts.Claim,
        parts.Owner,
        parts.Peer,
        parts.HeartbeatReply,
        Step,
        Append,
        State,
        Transition,
        QueueRow,
    ),
    *(DataWrite, Delay, StoredData, ExchangeParts, JournalRow, Pruned, PrunedId, Condition, DueSummary, PostConflict),
    *(Revision, Tally, ScheduleChange, ScheduleEdit, ScheduleRow, LimitUsage, Pause, FlowPause, PausedFlowRow),
    *ANSWERS,
]


_json = json.JSONEncoder(separators=(",", ":"))


class BadValue(ValueError):
    """A text that is no value of the port."""


def dump(value: Any, kind: Any) -> Any:
    """What JSON can hold of a value of this type."""
    return _converter().unstructure(value, unstructure_as=kind)


def load(plain: Any, kind: Any) -> Any:
    """The value; BadValue for anything that is none of this type."""
    try:
        return _converter().structure(plain, kind)
    except BadValue:
        raise
    except (cattrs.BaseValidationError, cattrs.StructureHandlerNotFoundError, ValueError, TypeError, KeyError) as error:
        raise BadValue(f"no {getattr(kind, '__name__', kind)}: {'; '.join(cattrs.transform_error(error))}") from error


def dump_results(results: Sequence[parts.CommitResult]) -> list[Any]:
    """The answers of a commit: the numbers of a Step, {"committed": Committed} or {"error": error}."""
    return [
        {"error": dump_error(result)}
        if isinstance(result, StepflowError)
        else {"committed": dump(result, parts.Committed)}
        if isinstance(result, parts.Committed)
        else result
        for result in results
    ]


def load_results(plain: Any) -> list[parts.CommitResult]:
    """The reverse of `dump_results`."""
    return [
        load(value, tuple[int, ...])
        if isinstance(value, list)
        else load_error(value["error"])
        if "error" in value
        else load(value["committed"], parts.Committed)
        for value in plain
    ]


def dump_error(error: StepflowError) -> dict[str, Any]:
    """An error of a store: its type, its message, and what else it has."""
    fields = {name: value for name, value in vars(error).items() if isinstance(value, str | int | list)}
    kind = next(one for one in type(error).__mro__ if getattr(errors, one.__name__, None) is one)  # which others know
    return {"type": kind.__name__, "message": str(error), "fields": fields}


def load_error(plain: Any) -> StepflowError:
    """The error again; one of a type that is not known here is a StoreError."""
    kind = getattr(errors, str(plain.get("type")), None)
    if not (isinstance(kind, type) and issubclass(kind, StepflowError)):
        return StoreError(f"{plain.get('type')}: {plain.get('message')}")
    error: StepflowError = kind.__new__(kind)
    Exception.__init__(error, plain.get("message", ""))
    vars(error).update(plain.get("fields", {}))
    return error


def to_bytes(plain: Any) -> bytes:
    """JSON text."""
    return _json.encode(plain).encode()


def from_bytes(raw: bytes) -> Any:
    """The value of a JSON text; BadValue if it is none."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BadValue(f"no JSON: {error}") from None


@lru_cache(maxsize=1)
def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=False)
    for kind in ENCODED:
        if attrs.has(kind):
            attrs.resolve_types(kind)
    for plain in (str, int, bool, float):
        converter.register_structure_hook(plain, _strict(plain))
    converter.register_structure_hook(bytes, lambda text, _kind: _unbase64(text))
    converter.register_unstructure_hook(bytes, lambda blob: base64.b64encode(blob).decode())
    converter.register_structure_hook(Transition, lambda text, _kind: _transition(text))
    converter.register_unstructure_hook(Transition, _transition_value)
    converter.register_structure_hook_func(
        lambda kind: kind == tuple[int, ...], lambda numbers, _kind: _integers(numbers)
    )
    converter.register_structure_hook_factory(_is_mapping, _mapping_loader)
    converter.register_unstructure_hook_factory(_is_mapping, lambda _kind: dict)
    converter.register_structure_hook(RunList, lambda pair, _kind: _page(pair))
    converter.register_unstructure_hook(RunList, lambda page: [dump(list(page), list[parts.Record]), page.end])
    converter.register_structure_hook_factory(_is_collection, lambda _kind: lambda ids, _: load(ids, tuple[str, ...]))
    converter.register_unstructure_hook_factory(_is_collection, lambda _kind: list)
    converter.register_structure_hook_factory(_is_named_tuple, lambda kind: _tuple_loader(converter, kind))
    converter.register_unstructure_hook_factory(_is_named_tuple, lambda kind: _tuple_dumper(converter, kind))
    converter.register_structure_hook(parts.Enqueue, _with_limits(_tuple_loader(converter, parts.Enqueue)))
    converter.register_structure_hook(LimitUsageQuery, _with_limits(make_dict_structure_fn(LimitUsageQuery, converter)))
    converter.register_structure_hook_factory(_is_record, lambda kind: make_dict_structure_fn(kind, converter))
    converter.register_unstructure_hook_factory(
        _is_record, lambda kind: make_dict_unstructure_fn(kind, converter, _cattrs_omit_if_default=True)
    )
    converter.register_structure_hook_factory(_is_choice, lambda kind: _choice_loader(converter, kind))
    converter.register_unstructure_hook_factory(_is_choice, lambda kind: _choice_dumper(converter, kind))
    return converter


def _strict(plain: type[Any]) -> Callable[[Any, Any], Any]:
    def check(value: Any, _kind: Any) -> Any:
        if type(value) is plain or (plain is float and type(value) is int):
            return value
        raise BadValue(f"{value!r:.40} is no {plain.__name__}")

    return check


def _unbase64(text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, binascii.Error) as error:
        raise BadValue(f"{text!r:.40} is no base64") from error


def _is_mapping(kind: Any) -> bool:
    return get_origin(kind) is Mapping or kind is Mapping


def _page(pair: Any) -> RunList:
    runs, end = pair
    return RunList(load(runs, list[parts.Record]), load(end, ListKey | None))


def _is_collection(kind: Any) -> bool:
    return get_origin(kind) is Collection


def _mapping_loader(kind: Any) -> Callable[[Any, Any], Any]:
    wanted = get_args(kind)[1]

    def read(value: Any, _kind: Any) -> Any:
        if type(value) is not dict or not all(type(item) is wanted for item in value.values()):
            raise BadValue(f"{value!r:.40} is no mapping to {wanted.__name__}")
        return value

    return read


def _transition_value(transition: Transition) -> Any:
    if not transition.problem:
        return transition.text
    return [transition.text, transition.problem, transition.to, dict(transition.annotations)]


def _transition(value: Any) -> Transition:
    if type(value) is str:
        return _transitions[value]
    try:
        text, problem, to, notes = value
        return Unreadable(to + "", checked_map(notes), stored=text + "", problem=problem + "")
    except DAMAGED:
        raise BadValue(f"{value!r:.40} is no transition") from None


def _parsed(text: str) -> Transition:
    try:
        return Transition.parse(text)
    except DAMAGED as error:
        raise BadValue(f"{text!r:.40} is no transition: {error}") from None


_transitions = BoundedCache(_parsed, lambda text, _transition: 4 * size_of_texts(text))


def _with_limits(read: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Reads a value whose `limits` are the text of some: a store that claims by them would fail at each claim."""

    def check(plain: Any, kind: Any) -> Any:
        found = read(plain, kind)
        try:
            canonical = dump_limits(parse_limits(found.limits))
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise BadValue(f"{found.limits!r:.40} are no limits: {error}") from None
        if canonical != found.limits:
            raise BadValue(f"{found.limits!r:.40} are no limits as stores have them: {canonical!r:.40}")
        return found

    return check


def _integers(numbers: Any) -> tuple[int, ...]:
    if type(numbers) is not list or not all(type(number) is int for number in numbers):
        raise BadValue(f"{numbers!r:.40} is no list of integers")
    return tuple(numbers)


def _is_named_tuple(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields")


def _tuple_dumper(converter: cattrs.Converter, kind: Any) -> Callable[[Any], list[Any]]:
    hints = get_type_hints(kind)
    hooks = [converter.get_unstructure_hook(hints[name]) for name in kind._fields]
    return lambda value: [hook(item) for hook, item in zip(hooks, value, strict=True)]


def _tuple_loader(converter: cattrs.Converter, kind: Any) -> Callable[[Any, Any], Any]:
    hints = get_type_hints(kind)
    hooks = [(converter.get_structure_hook(hints[name]), hints[name]) for name in kind._fields]

    def read(value: Any, _kind: Any) -> Any:
        if not isinstance(value, list) or len(value) != len(hooks):
            raise BadValue(f"{value!r:.40} is no {kind.__name__}, which has {len(hooks)} fields")
        return kind(*[hook(item, wanted) for (hook, wanted), item in zip(hooks, value, strict=True)])

    return read


def _is_record(kind: Any) -> bool:
    return isinstance(kind, type) and attrs.has(kind)


def _is_choice(kind: Any) -> bool:
    """Whether this is a union of several classes of the port."""
    if get_origin(kind) not in (Union, UnionType):
        return False
    return len([item for item in get_args(kind) if item is not NoneType]) > 1


def _choice_dumper(converter: cattrs.Converter, _kind: Any) -> Callable[[Any], Any]:
    hook_of: Callable[[Any], Any] = cache(
        converter.get_unstructure_hook
    )  # looked up late: a class may contain a choice of itself

    def write(value: Any) -> Any:
        return None if value is None else [type(value).__name__, hook_of(type(value))(value)]

    return write


def _choice_loader(converter: cattrs.Converter, kind: Any) -> Callable[[Any, Any], Any]:
    allowed = {item.__name__: item for item in get_args(kind) if item is not NoneType}
    hook_of: Callable[[Any], Any] = cache(converter.get_structure_hook)
    optional = NoneType in get_args(kind)

    def read(value: Any, _kind: Any) -> Any:
        if value is None and optional:
            return None
        if not isinstance(value, list) or len(value) != 2 or value[0] not in allowed:
            raise BadValue(f"{value!r:.40} is none of {', '.join(allowed)}")
        found = allowed[value[0]]
        return hook_of(found)(value[1], found)

    return read
