"""Carries out commands on working copies; pure, so that the same script can be rehearsed, resolved and performed.

A script is performed up to three times: on copies, to learn what a commit consists of and to find mistakes before anything
happens; on copies again, inside the store's transaction, when the numbers of the new revisions are known; and on the
caller's own objects once the commit is durable. A later command therefore sees what an earlier one of the same commit did.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from attrs import Factory, define

from stepflow.drivers.port.delays import DataQuery, DataWrite, Delay
from stepflow.drivers.port.queries import HistoryQuery
from stepflow.engine.checks import checked_id, checked_labels, checked_notes
from stepflow.engine.clock import microseconds, moment, timestamp
from stepflow.engine.states.checks import MAX_NUMBER, checked_data, checked_rev, checked_target, copy_of
from stepflow.errors import NotFound, StepflowError
from stepflow.model import commands as c
from stepflow.model.ctx import DELAY_UNTIL, StateCtx
from stepflow.model.data import ALIAS_PREFIX, CHECKSUM, Data, data_rev
from stepflow.model.stacked import stack_text, unstack_text
from stepflow.model.state import State, Transition

DELAY_COMMIT = "flowstate.delay.commit"  # transition annotation: "false" for a delay that needs no commit

FAR_S = 1e11  # some thousand years, in seconds

View = Callable[[StateCtx], StateCtx]
Reads = dict[int, Any]


class NeedsRead(Exception):
    """The command at `index` needs the answer of a query before the script can go on."""

    def __init__(self, index: int, query: HistoryQuery | DataQuery) -> None:
        super().__init__(index)
        self.index, self.query = index, query


@define
class Effects:
    """What a script comes to: States to be written (each with the revision that it replaces), data and delays."""

    writes: list[State] = Factory(list)
    data: list[DataWrite] = Factory(list)
    delays: list[Delay] = Factory(list)


@define
class Script:
    """Commands with all that they depend on: `now` in microseconds, the answers of their reads, the checksum function.

    `atomic` scripts are the inside of a commit: each transit or park writes a revision.
    """

    commands: Sequence[c.Command]
    now: int
    checksum: Callable[[bytes], str]
    atomic: bool
    reads: Reads = Factory(dict)

    def rehearse(self) -> Effects:
        """Perform on copies, with made-up numbers; NeedsRead asks for the answer of a query, to be put into `reads`."""
        return self.perform(copies(), (), ())

    def perform(self, view: View, revs: Sequence[int], data_revs: Sequence[int]) -> Effects:
        """Carry out all commands on `view(ctx)` of each State they name; the numbers are those that the store gave."""
        effects = Effects()
        for index, command in enumerate(self.commands):
            self._carry_out(index, command, view, data_revs, effects)
            if self.atomic and isinstance(command, c.ENDS_WITH_A_WRITE):
                self._write(view(command.ctx), revs, effects)
        return effects

    def _carry_out(
        self, index: int, command: c.Command, view: View, data_revs: Sequence[int], effects: Effects
    ) -> None:
        match command:
            case c.Transit():
                self._transit(view(command.ctx), command)
            case c.Park():
                view(command.ctx).move("", command.annotations)
            case c.Delay():
                self._delay(view(command.ctx), command, effects)
            case c.Noop():
                pass
            case c.Stack():
                self._stack(view(command.carrier), view(command.stacked), command.annotation)
            case c.Unstack():
                self._unstack(view(command.carrier), view(command.target), command.annotation)
            case c.StoreData():
                self._store_data(view(command.ctx), command.alias, data_revs, effects)
            case c.GetData():
                self._get_data(index, view(command.ctx), command.alias)
            case c.GetStateByID():
                view(command.ctx).reset(self._found(index, by_id(command)))
            case c.GetStateByLabels():
                view(command.ctx).reset(self._found(index, by_labels(command)))
            case _:
                raise _not_here(command)

    def _write(self, ctx: StateCtx, revs: Sequence[int], effects: Effects) -> None:
        if any(written.id == ctx.id for written in effects.writes):
            raise StepflowError(f"State {ctx.id!r} is written twice in one commit: make it two commits")
        state = checked_state(ctx.current._replace(rev=ctx.committed.rev))
        effects.writes.append(state)
        rev = revs[len(effects.writes) - 1] if revs else state.rev
        ctx.reset(state._replace(rev=rev, committed_at=self.now))

    def _transit(self, ctx: StateCtx, command: c.Transit) -> None:
        ctx.move(checked_target(command.to, "transit"), command.annotations)

    def _delay(self, ctx: StateCtx, command: c.Delay, effects: Effects) -> None:
        checked_target(command.to, "delay", ", when")
        state = checked_state(ctx.current)
        due = _due(command.when, self.now)
        notes = {**command.annotations, DELAY_UNTIL: moment(due).isoformat()}
        if not command.commit:
            notes[DELAY_COMMIT] = "false"
        snapshot = checked_state(state._replace(transition=Transition(command.to, notes)))
        effects.delays.append(Delay(snapshot, due, command.commit))

    def _stack(self, carrier: StateCtx, stacked: StateCtx, annotation: str) -> None:
        if not annotation:
            raise StepflowError("stack annotation name empty: name the annotation that shall hold the State")
        if carrier.annotations.get(annotation):
            raise StepflowError(f"stack annotation '{annotation}' already set: unstack it first, or use another name")
        carrier.annotations[annotation] = stack_text(stacked)

    def _unstack(self, carrier: StateCtx, target: StateCtx, annotation: str) -> None:
        text = carrier.annotations.get(annotation, "")
        if not text:
            raise StepflowError(f"stack annotation value empty: nothing was stacked under '{annotation}'")
        source = unstack_text(text)
        target.reset(source.current)
        target.committed, target.transitions, target.datas = source.committed, source.transitions, source.datas
        carrier.annotations[annotation] = ""

    def _store_data(self, ctx: StateCtx, alias: str, data_revs: Sequence[int], effects: Effects) -> None:
        data = checked_data(alias, ctx.data(alias))
        checksum = self.checksum(data.blob)
        if data.dirty(checksum):
            data.annotations[CHECKSUM] = checksum
            effects.data.append(DataWrite(ctx.id, data.blob, dict(data.annotations)))
            data.rev = data_revs[len(effects.data) - 1] if data_revs else data.rev or 1
        ctx.annotations[ALIAS_PREFIX + alias] = str(data.rev)

    def _get_data(self, index: int, ctx: StateCtx, alias: str) -> None:
        rev = data_rev(ctx.annotations, alias)
        known = ctx.datas.get(alias)
        if known is not None and known.rev == rev:
            return
        found = self._read(index, DataQuery(rev)) if rev <= MAX_NUMBER else None
        if not found:
            raise StepflowError(f"data not found: revision {rev} of {alias!r}")
        ctx.datas[alias] = Data(found[0].blob, found[0].rev, dict(found[0].annotations))

    def _found(self, index: int, query: HistoryQuery) -> State:
        found = self._read(index, query)
        return the_state(query, [r.state for r in found])

    def _read(self, index: int, query: HistoryQuery | DataQuery) -> Any:
        if index not in self.reads:
            raise NeedsRead(index, query)
        return self.reads[index]


def _not_here(command: Any) -> StepflowError:
    name = _NAMES.get(type(command))
    if name is None:
        return StepflowError(f"{command!r:.80} is no command: use transit, park, delay, commit, Execute, Noop, ...")
    where = "another commit" if isinstance(command, c.Commit) else "commit"
    return StepflowError(f"{name} command not allowed inside {where}: do it before or after")


def by_id(command: c.GetStateByID) -> HistoryQuery:
    """The query of a GetStateByID."""
    if not command.id:
        raise StepflowError("id is empty: name the State to read")
    checked_id(command.id)
    if checked_rev(command.rev) == 0:
        return HistoryQuery(command.id, limit=1, last=True)
    return HistoryQuery(command.id, since_rev=command.rev - 1, until_rev=command.rev, limit=1)


def by_labels(command: c.GetStateByLabels) -> HistoryQuery:
    """The query of a GetStateByLabels."""
    if not command.labels:
        raise StepflowError("labels are empty: name at least one, or read by id")
    return HistoryQuery(labels=(checked_labels(command.labels),), limit=1, last=True)


def the_state(query: HistoryQuery, found: Sequence[State]) -> State:
    """The one State of an answer; NotFound if there is none."""
    if found:
        return found[0]
    if query.id is None:
        raise NotFound(f"state not found; labels={dict(query.labels[0])}")
    rev = "" if query.until_rev is None else f" rev={query.until_rev}"
    raise NotFound(f"state not found; id={query.id}{rev}")


def checked_state(state: State) -> State:
    """A State that may be stored."""
    if not state.id:
        raise StepflowError('state id empty: give the State an id, StateCtx("order-42")')
    checked_id(state.id)
    checked_labels(state.labels)
    checked_notes(state.annotations)
    checked_notes(state.transition.annotations)
    return state


def _due(when: Any, now: int) -> int:
    """A time to come as microseconds UTC."""
    if isinstance(when, datetime) and when.tzinfo is not None:
        return timestamp(when)
    number = isinstance(when, int | float) and not isinstance(when, bool)
    if isinstance(when, timedelta) or (number and abs(when) < FAR_S):
        return now + microseconds(when)
    raise StepflowError(f"delay until {when!r:.80}: give seconds, a timedelta or an aware datetime")


def copies() -> View:
    """A view in which each State is a copy of its own, so that nothing happens to the original."""
    made: dict[int, StateCtx] = {}

    def view(ctx: StateCtx) -> StateCtx:
        if id(ctx) not in made:
            made[id(ctx)] = copy_of(ctx)
        return made[id(ctx)]

    return view


_NAMES: dict[type[Any], str] = {
    c.Commit: "commit",
    c.Execute: "execute",
    c.GetStates: "get states",
    c.GetDelayedStates: "get delayed states",
}
