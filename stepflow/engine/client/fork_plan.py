"""fork_plan: what a run was like at an earlier revision or before a step: its position, and the part of its journal that it had then."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from attrs import define, field, frozen

from stepflow.drivers.port.journal import JournalRow
from stepflow.engine.intents import intents, is_resolved, name_of
from stepflow.errors import NotFound, StepflowError
from stepflow.model import outcome as outcomes
from stepflow.model.blocked import unreadable_run
from stepflow.model.codec import SEALED, UNOPENED, Unopened
from stepflow.model.family import child_id
from stepflow.model.flow import Flow
from stepflow.model.outcome import FLOW
from stepflow.model.recovery import TRIED
from stepflow.model.state import (
    CHILDREN,
    FAILED_CALL,
    PASSES,
    POSITION,
    RENEWED,
    REWOUND,
    STYLE,
    TOPICS,
    UNWANTED,
    WAITING,
    State,
    Transition,
)
from stepflow.replay.branches import MARK
from stepflow.replay.journal import MADE, OPTIONAL, UNFINISHED, as_if_uncancelled, is_cancel, optional_after

KEPT = (PASSES, POSITION, RENEWED, STYLE, TOPICS)
MOST_KEPT = 10_000  # transitions of which a search keeps whether they make the step
Known = Callable[[str], Flow[Any, Any] | None]
"""The flow of a name, if it is known here."""
RANDOM = ("random_uuid7", "random_uint64", "now")


@frozen
class ForkPoint:
    """Where a run goes back to: `rows` are those of its journal that it had then, `dropped` the others."""

    state: State  # of the revision
    transition: Transition  # with which it goes on
    rows: tuple[JournalRow, ...] = ()
    dropped: tuple[JournalRow, ...] = ()


def is_workflow(transition: Transition) -> bool:
    """Whether a workflow is at this transition, which may be its last one."""
    return STYLE in transition.annotations


def is_open(transition: Transition) -> bool:
    """Whether the run had not ended there, as far as that can be read."""
    return not (transition.status or transition.problem)


def again(transition: Transition, flow: str) -> Transition:
    """The transition that leads on from an earlier revision: its waits, retries and errors begin anew."""
    notes = transition.annotations
    if transition.status:
        return outcomes.resumed(transition, flow)
    kept = {name: note for name, note in notes.items() if name in KEPT or not name.startswith("stepflow.")}
    kept.pop(TRIED, None)
    return outcomes.uncounted(Transition(transition.to, kept))


def at_revision(state: State, rows: Sequence[JournalRow], flow: str) -> ForkPoint:
    """The target of a revision. Raises StepflowError for the end of a run, but for a failure, which is undone."""
    transition = state.transition
    if transition.problem:
        raise unreadable_run(state.id, f"at revision {state.rev}, {transition.problem}")
    if transition.status in ("completed", "cancelled"):
        raise StepflowError(f"revision {state.rev} is the end of run {state.id!r}: name an earlier one, or a step")
    if not transition.to and FLOW not in transition.annotations and not transition.status:
        raise StepflowError(f"at revision {state.rev} run {state.id!r} was parked: nothing would go on from there")
    if not is_workflow(transition):
        return ForkPoint(state, again(transition, flow), (), tuple(rows))
    kept, dropped = _split(transition, rows)
    return _uncancelled(ForkPoint(state, again(transition, flow), kept, dropped))


def refuse_dropped(newest: State, state: State) -> None:
    """Raise StepflowError for a revision within a pass of a workflow that has begun anew since then: its journal was dropped."""
    began, now = (one.transition.annotations.get(RENEWED, "0") for one in (state, newest))
    if began != now and state.transition.annotations.get(POSITION, "[]") != "[]":
        raise StepflowError(
            f"revision {state.rev} of run {state.id!r} is of a time before wf.continue_as_new, which dropped what was recorded then:"
            " name the revision with which the run, or that pass, began, or a later one"
        )


def _split(transition: Transition, rows: Sequence[JournalRow]) -> tuple[tuple[JournalRow, ...], tuple[JournalRow, ...]]:
    """The rows that a workflow had at a revision, and those that came later: it was at the calls that its position names."""
    if transition.status == "failed":
        return tuple(rows), ()
    keys = _keys(transition)
    if not keys:
        return (), tuple(rows)
    waits = WAITING in transition.annotations
    first = min([row.seq for row in _of_calls(rows, keys)], default=1 << 62)

    def had(row: JournalRow) -> bool:
        if row.seq < first:
            return True
        if row.key not in keys:
            return False
        kind = row.kind.partition(MARK)[0]
        return kind == "sleep" or not waits

    return tuple(row for row in rows if had(row)), tuple(row for row in rows if not had(row))


def _keys(transition: Transition) -> set[str]:
    """The keys of the calls at which a workflow stands."""
    return {at.partition(":")[2] for at in json.loads(transition.annotations.get(POSITION, "[]"))}


def _of_calls(rows: Sequence[JournalRow], keys: set[str]) -> list[JournalRow]:
    """The rows of the calls with these keys: of a call for several items, such as `wf.map`, those of the items, and the one of its end, if it has one."""
    own = {row.key: row.kind.partition(MARK)[0].removesuffix(OPTIONAL) for row in rows if row.key in keys}
    several = {key for key in keys if key not in own or own[key] == "map" or is_cancel(own[key])}
    return [row for row in rows if row.key in own or _of_item(row.key) in several]


def _of_item(key: str) -> str | None:
    """The key of the call for several items that made the call with this key, if one did."""
    of, bracket, number = key.rpartition("[")
    return of if bracket and number.endswith("]") and number[:-1].isdecimal() else None


def before_call(state: State, rows: Sequence[JournalRow], key: str) -> ForkPoint:
    """The target before the call of a workflow that has this key."""
    first = min([row.seq for row in _of_calls(rows, {key})], default=1 << 62)
    if first == 1 << 62 and key not in _keys(state.transition):  # a wait for a child is recorded when that has ended
        known = ", ".join(repr(row.key) for row in rows[-5:]) or "none"
        raise NotFound(
            f"run {state.id!r} has recorded no call {key!r}: name one of its journal, the last ones are {known}"
        )
    kept, rest = (tuple(row for row in rows if (row.seq < first) is before) for before in (True, False))
    return _uncancelled(ForkPoint(state, _unplaced(state.transition), kept, rest))


def _unplaced(transition: Transition) -> Transition:
    """The transition of a workflow that is at no call."""
    notes = {name: note for name, note in transition.annotations.items() if name in (RENEWED, STYLE, TOPICS)}
    return Transition(transition.to, notes)


def _uncancelled(target: ForkPoint) -> ForkPoint:
    """The target if the run had not been cancelled: what undid it is not made again, nor what came beside that in other branches."""
    if not any(is_cancel(row.kind) for row in target.rows):
        return target
    kept = as_if_uncancelled(target.rows)
    known = {row.key for row in kept}
    later = tuple(row for row in target.rows if row.key not in known)
    return ForkPoint(target.state, _unplaced(target.transition), kept, (*later, *target.dropped))


def moment_of(target: ForkPoint) -> int:
    """When the run was there, microseconds UTC, as its journal tells: what ended its children later was the end of the run, or came after it."""
    if target.dropped:
        return min(row.at for row in target.dropped)
    return max([row.at for row in target.rows], default=0)


@define
class StepSearch:
    """Looks for a step in the histories of many runs, whose flows `known` has if they are known here; many runs share their transitions."""

    step: str
    known: Known
    _found: dict[tuple[str, str], bool] = field(factory=dict)
    _paths: dict[str, str] = field(factory=dict)

    def unmade(self, run_id: str, created: str) -> NotFound:
        """That there is no such step to go back to, and how to name one with, or without, the flow's definition."""
        how = "give a position of its history"
        if self.known(created) is None:
            how = (
                "its flow is not registered here: register it (`--flows MODULE` on the command line), or name a step of a chain by the"
                " position before it, one of its history"
            )
        return NotFound(
            f"run {run_id!r} was never about to make step {self.step!r}: {how} (`run.history()`, `stepflow show`)"
        )

    def before(self, states: Iterable[State], created: str) -> State | None:
        """The newest of these revisions (newest first) that was about to make the step; None if none of them was. Raises StepflowError for a step that the flow has not."""
        return next((one for one in states if is_open(one.transition) and self._makes(one.transition, created)), None)

    def _path(self, created: str) -> str:
        """The path of the step, which users may name in several ways; a position stays as it is, as no name has a colon."""
        if created not in self._paths:
            flow = self.known(created)
            self._paths[created] = self.step if flow is None or ":" in self.step else flow.step_path(self.step)
        return self._paths[created]

    def _makes(self, transition: Transition, created: str) -> bool:
        key = transition.text, created
        if key not in self._found:
            if len(self._found) >= MOST_KEPT:
                self._found.clear()
            self._found[key] = self._path(created) in _names(transition, self.known(created))
        return self._found[key]


def _names(transition: Transition, flow: Flow[Any, Any] | None) -> list[str]:
    """What the step is called that a run makes next: the strings of its position, its path below the flow, or the flow function."""
    position = transition.annotations.get(POSITION)
    if position is None:
        return [transition.to]
    names: list[str] = json.loads(position)
    if flow is not None and transition.to == flow.name:
        try:
            move = flow.resume(transition)
        except StepflowError:
            return names
        names = names + [task.step for task in move.tasks]
    return names


def used_random(rows: Iterable[JournalRow]) -> list[str]:
    """The keys of the random values and times that these rows hold."""
    return [row.key for row in rows if row.kind.partition(MARK)[0].removesuffix(OPTIONAL) in RANDOM]


def started(run_id: str, rows: Iterable[JournalRow]) -> dict[str, list[str]]:
    """The children whose start each of these rows records, by key of the row; those of a fork are the children of the first run."""
    found: dict[str, list[str]] = {}
    for row in rows:
        made = row.kind.removeprefix(MADE)
        if made.partition(MARK)[0] == "child" and (not row.failed or made is not row.kind):
            told = _told(row)
            count, parent = (told["count"], told["of"]) if isinstance(told, dict) else (told, run_id)
            stem, bracket, number = row.key.rpartition("[")
            keys = [row.key] if count == 1 or not bracket else [f"{stem}[{int(number[:-1]) + n}]" for n in range(count)]
            found[row.key] = [child_id(parent, key) for key in keys]
    return found


def _told(row: JournalRow) -> Any:
    """What the row of a start of children says. Raises Unopened if its key is not here."""
    if row.text[:1] == SEALED:
        raise Unopened(f"the children of the run cannot be told, call {row.key!r}: {UNOPENED}")
    return json.loads(row.text)


def started_later(run_id: str, state: State, target: ForkPoint) -> list[str]:
    """The ids of the children that a rewind leaves behind; with those that an earlier one left, of which not all need be cancelled yet."""
    before: list[str] = json.loads(state.transition.annotations.get(UNWANTED, "[]"))
    return before + [one for some in started(run_id, target.dropped).values() for one in some]


def rewound(transition: Transition, state: State, unwanted: list[str]) -> Transition:
    """The transition of a workflow that goes back from `state`; it names the children that are to be cancelled before it goes on."""
    notes = {REWOUND: str(state.rev)}
    if unwanted or CHILDREN in state.transition.annotations:
        notes[CHILDREN] = "1"
    if unwanted:
        notes[UNWANTED] = json.dumps(unwanted, ensure_ascii=False)
    return Transition(transition.to, {**transition.annotations, **notes})


def copied(
    run_id: str, rows: Sequence[JournalRow], children: dict[str, list[str]], anew_ones: set[str]
) -> tuple[JournalRow, ...]:
    """The rows for a run that goes on from there: its calls find the children that have ended; the start of others is made anew, and what came later may differ."""
    found: list[JournalRow] = []
    for row in rows:
        if any(child in anew_ones for child in children.get(row.key, ())):
            continue
        if row.key in children:
            told = _told(row)
            if not isinstance(told, dict):
                row = row._replace(text=json.dumps({"count": told, "of": run_id}))
        found.append(row)
    anew = [row for row in rows if any(child in anew_ones for child in children.get(row.key, ()))]
    if not anew:
        return tuple(found)
    first = min(row.seq for row in anew)
    later = {row.key: row for row in optional_after([*found, anew[0]], anew[0].key)}
    return tuple(later[row.key] if row.seq > first and row.key in later else row for row in found)


def refuse_unknown(state: State, rows: Sequence[JournalRow]) -> None:
    """Raise StepflowError for an open run with a call of unknown outcome: to go back would make the call again."""
    row = next((row for row in intents(state, rows) if not is_resolved(row, state)), None)
    if row is not None and not state.transition.status:
        step, call = name_of(row.key, state)
        what = f"call {call!r} of {step!r}" if step and call else f"step {step or call!r}"
        key = call or step
        raise StepflowError(
            f"run {state.id!r} cannot be rewound: the outcome of {what} is unknown, and the call would be made again; settle it"
            f" first with run.resolve({key!r}, value) or run.resolve_failed({key!r}, error)"
        )


def without_open_calls(rows: Sequence[JournalRow]) -> tuple[JournalRow, ...]:
    """The rows without those of calls that have not ended."""
    return tuple(row for row in rows if row.kind.partition(MARK)[0].removesuffix(OPTIONAL) not in UNFINISHED)


def resumes_failed(target: ForkPoint) -> bool:
    """Whether the run goes on behind the failure that ended it."""
    return FAILED_CALL in target.transition.annotations
