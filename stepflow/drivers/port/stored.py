"""The stored form of label and annotation maps, of transitions and of States: the same in every store."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import Any, TypeVar

from stepflow.model.cache import BoundedCache, size_of_texts
from stepflow.model.state import (
    DAMAGED,
    EMPTY,
    ENDED,
    STATUS,
    UNREAD,
    State,
    Transition,
    Unreadable,
    checked_map,
    encode_map,
    lengthened,
    new_tuple,
)

T = TypeVar("T")
_map_texts: BoundedCache[tuple[tuple[str, str], ...], str] = BoundedCache(
    lambda items: encode_map(dict(items)), lambda items, text: size_of_texts(text, *chain.from_iterable(items))
)


def _transition(text: str) -> Transition:
    try:
        return Transition.parse(text)
    except DAMAGED as error:
        to, notes = _rest(text)
        return Unreadable(to, notes, stored=_as_text(text), problem=damage("transition", error))


def _rest(text: str) -> tuple[str, Mapping[str, str]]:
    """What is left of a transition that cannot be read: where it goes, and the final status."""
    try:
        raw = json.loads(lengthened(text))
        to, status = raw["to"] + "", raw["annotations"].get(STATUS)
    except DAMAGED:
        return "", EMPTY
    return to, {STATUS: status} if status in ENDED else EMPTY


_transitions = BoundedCache(_transition, lambda text, _transition: 4 * size_of_texts(text))


def map_text(mapping: Mapping[str, str]) -> str:
    """The stored form of labels or annotations; most runs have a few that do not change."""
    return _map_texts[tuple(mapping.items())] if mapping else "{}"


def read_map(text: str) -> Mapping[str, str]:
    """Labels or annotations from their stored form; if they have another one, that text under the name UNREAD."""
    try:
        return _map(text)
    except DAMAGED:
        return {UNREAD: _as_text(text)}


def _map(text: str) -> Mapping[str, str]:
    return EMPTY if text == "{}" else checked_map(json.loads(text))


def read_transition(text: str) -> Transition:
    """A transition from its stored form, Unreadable if it has another one; runs share most of them."""
    return _transitions[text]


def read_state(run_id: str, rev: int, transition: str, labels: str, annotations: str, committed_at: int) -> State:
    """A State from the stored forms of its parts; its transition is Unreadable if one of them cannot be read."""
    try:
        maps = _map(labels), _map(annotations)
    except DAMAGED:
        maps = read_map(labels), read_map(annotations)
        return State(run_id, rev, _with_problem(_transitions[transition], labels, annotations), *maps, committed_at)
    return new_tuple(State, (run_id, rev, _transitions[transition], *maps, committed_at))


def _with_problem(transition: Transition, labels: str, annotations: str) -> Transition:
    problems = [transition.problem] if transition.problem else []
    for column, text in (("labels", labels), ("annotations", annotations)):
        try:
            _map(text)
        except DAMAGED as error:
            problems.append(damage(column, error))
    return Unreadable(transition.to, transition.annotations, stored=transition.text, problem="; ".join(problems))


def without_exchange(state: State) -> State:
    """The State of a run whose exchange is missing: one that cannot be read."""
    transition = state.transition
    problem = "; ".join(filter(None, (transition.problem, "its stored exchange is missing")))
    unreadable = Unreadable(transition.to, transition.annotations, stored=transition.text, problem=problem)
    return state._replace(transition=unreadable)


def in_order(rows: Iterable[T], key: Callable[[T], Any], *, reverse: bool = False) -> list[T]:
    """The rows by a key of several parts. Of a damaged row, a part may have another type: numbers are before texts, these before bytes."""
    rows = list(rows)
    try:
        return sorted(rows, key=key, reverse=reverse)
    except TypeError:
        return sorted(rows, key=lambda row: [_comparable(part) for part in key(row)], reverse=reverse)


def _comparable(part: object) -> tuple[int, Any]:
    return (2 if isinstance(part, bytes) else 1 if isinstance(part, str) else 0), part


def damage(column: str, error: Exception) -> str:
    """What is wrong with a run of which this part cannot be read."""
    return f"its stored {column} cannot be read ({type(error).__name__}: {error})"


def _as_text(stored: Any) -> str:
    return stored if isinstance(stored, str) else repr(stored)
