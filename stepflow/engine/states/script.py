"""Plans commands: carries them out on working copies, and collects what their commit consists of. Pure.

A script is planned once. Numbers that the store will give are provisional until the commit is durable (`provisional.py`): a
later command of the same script can refer to them, and the commit takes them along as placeholders.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from attrs import Factory, define

from stepflow.drivers.port.commit import Created, DataRevOf, Placeholder, RevOf, Write
from stepflow.drivers.port.delays import DataQuery, DataWrite, Delay
from stepflow.drivers.port.placeholders import Numbers
from stepflow.drivers.port.queries import HistoryQuery
from stepflow.engine.clock import microseconds, moment, timestamp, utc_text
from stepflow.engine.states import provisional
from stepflow.engine.states.checks import checked_data, checked_state_id
from stepflow.engine.states.copies import Copies
from stepflow.errors import NotFound, StepflowError
from stepflow.model import commands as c
from stepflow.model.checks import MAX_NUMBER, checked_notes, relabelled
from stepflow.model.ctx import DELAY_UNTIL, StateCtx
from stepflow.model.data import ALIAS_PREFIX, CHECKSUM, Data, data_rev
from stepflow.model.state import State, Transition

DELAY_COMMIT = "flowstate.delay.commit"  # transition annotation: "false" for a delay that needs no commit

Reading = Generator[HistoryQuery | DataQuery, Any, None]


@define
class ScriptPlan:
    """What a script will do: what it writes, its data and delays. `now` is its time, microseconds UTC."""

    now: int
    writes: list[Write] = Factory(list)
    data: list[DataWrite] = Factory(list)
    delays: list[Delay] = Factory(list)
    copies: Copies = Factory(Copies)

    @property
    def durable(self) -> bool:
        """Whether there is anything to commit."""
        return bool(self.writes or self.delays or self.data)

    def placeholders(self) -> Iterator[Placeholder]:
        """Where the commit holds numbers of its own."""
        for index, write in enumerate(self.writes):
            yield from provisional.in_state(write.state, "write", index, rev=False)
        for index, delay in enumerate(self.delays):
            yield from provisional.in_state(delay.state, "delay", index)

    def apply(self, revs: Sequence[int] = (), data_revs: Sequence[int] = (), committed_at: int = 0) -> None:
        """Change the callers' objects, given what the store answered."""
        self.copies.apply(Numbers(revs, data_revs, committed_at))


def write_of(state: State, committed: State, now: int) -> Write:
    """The write of a State over the revision that was committed last."""
    if not state.rev:
        return Write(state, None, Created(state.transition.to, "", now))
    return Write(state, None, None, None if state.labels == committed.labels else committed.labels)


@define
class Script:
    """Commands with all that they depend on: `now` in microseconds, the checksum function.

    `atomic` scripts are the inside of a commit: each transit or park writes a revision.
    """

    commands: Sequence[c.Command]
    now: int
    checksum: Callable[[bytes], str]
    atomic: bool

    def plan(self) -> Generator[HistoryQuery | DataQuery, Any, ScriptPlan]:
        """Yields the queries whose answers the commands need; the plan. Raises what is wrong with the commands."""
        plan = ScriptPlan(self.now)
        view = plan.copies.of
        for command in self.commands:
            if isinstance(command, c.GetData):
                yield from self._get_data(view(command.ctx), command.alias)
            elif isinstance(command, c.GetStateByID | c.GetStateByLabels):
                query = by_id(command) if isinstance(command, c.GetStateByID) else by_labels(command)
                ctx = view(command.ctx)
                ctx.reset(the_state(query, [r.state for r in (yield query)]))
            else:
                self._carry_out(command, view, plan)
            if self.atomic and isinstance(command, c.ENDS_WITH_A_WRITE):
                self._write(view(command.ctx), plan)
        return plan

    def _carry_out(self, command: c.Command, view: Callable[[StateCtx], StateCtx], plan: ScriptPlan) -> None:
        match command:
            case c.Transit():
                view(command.ctx).move(command.to, command.annotations)
            case c.Park():
                view(command.ctx).move("", command.annotations)
            case c.DelayCommand():
                self._delay(view(command.ctx), command, plan)
            case c.Noop():
                pass
            case c.Stack():
                _stack(view(command.carrier), view(command.stacked), command.annotation)
            case c.Unstack():
                _unstack(view(command.carrier), view(command.target), command.annotation)
            case c.StoreData():
                self._store_data(view(command.ctx), command.alias, plan)
            case _:
                raise c.no_command(command)

    def _write(self, ctx: StateCtx, plan: ScriptPlan) -> None:
        if any(write.state.id == ctx.id for write in plan.writes):
            raise StepflowError(f"State {ctx.id!r} is written twice in one commit: make it two commits")
        state = checked_state(ctx.current._replace(rev=ctx.committed.rev), ctx.committed)
        rev = provisional.number(state.rev, RevOf(len(plan.writes)))
        plan.writes.append(write_of(state, ctx.committed, self.now))
        ctx.reset(state._replace(rev=rev, committed_at=self.now))

    def _delay(self, ctx: StateCtx, command: c.DelayCommand, plan: ScriptPlan) -> None:
        state = checked_state(ctx.current, ctx.committed)
        due = _due(command.when, self.now)
        notes = {**command.annotations, DELAY_UNTIL: _rfc3339(due)}
        if not command.commit:
            notes[DELAY_COMMIT] = "false"
        snapshot = checked_state(state._replace(transition=Transition(command.to, notes)), state)
        plan.delays.append(Delay(snapshot, due, command.commit))

    def _store_data(self, ctx: StateCtx, alias: str, plan: ScriptPlan) -> None:
        data = checked_data(alias, ctx.data(alias))
        checksum = self.checksum(data.blob)
        if data.dirty(checksum):
            data.annotations[CHECKSUM] = checksum
            data.rev = provisional.number(data.rev or 1, DataRevOf(len(plan.data)))
            plan.data.append(DataWrite(ctx.id, data.blob, dict(data.annotations)))
        ctx.annotations[ALIAS_PREFIX + alias] = provisional.decimal(data.rev)

    def _get_data(self, ctx: StateCtx, alias: str) -> Reading:
        rev = data_rev(ctx.annotations, alias)
        known = ctx.datas.get(alias)
        if known is not None and known.rev == rev:
            return
        found = (yield DataQuery(rev)) if rev <= MAX_NUMBER else None
        if not found:
            raise StepflowError(f"data not found: revision {rev} of {alias!r}")
        ctx.datas[alias] = Data(found[0].blob, found[0].rev, dict(found[0].annotations))


def _stack(carrier: StateCtx, stacked: StateCtx, annotation: str) -> None:
    if carrier.annotations.get(annotation):
        raise StepflowError(f"stack annotation '{annotation}' already set: unstack it first, or use another name")
    carrier.annotations[annotation] = provisional.stack(stacked)


def _unstack(carrier: StateCtx, target: StateCtx, annotation: str) -> None:
    text = carrier.annotations.get(annotation, "")
    if not text:
        raise StepflowError(f"stack annotation value empty: nothing was stacked under '{annotation}'")
    source = provisional.unstack(text)
    target.reset(source.current)
    target.committed, target.transitions, target.datas = source.committed, source.transitions, source.datas
    carrier.annotations[annotation] = ""


def by_id(command: c.GetStateByID) -> HistoryQuery:
    """The query of a GetStateByID."""
    if command.rev == 0:
        return HistoryQuery(command.id, limit=1, last=True, exchange=False)
    return HistoryQuery(command.id, since_rev=command.rev - 1, until_rev=command.rev, limit=1, exchange=False)


def by_labels(command: c.GetStateByLabels) -> HistoryQuery:
    """The query of a GetStateByLabels."""
    return HistoryQuery(labels=(dict(command.labels),), limit=1, last=True, exchange=False)


def the_state(query: HistoryQuery, found: Sequence[State]) -> State:
    """The one State of an answer; NotFound if there is none."""
    if found:
        return found[0]
    if query.id is None:
        raise NotFound(f"state not found; labels={dict(query.labels[0])}")
    rev = "" if query.until_rev is None else f" rev={query.until_rev}"
    raise NotFound(f"state not found; id={query.id}{rev}")


def checked_state(state: State, committed: State) -> State:
    """A State that may be stored; what is as in the revision that was `committed` last was checked then."""
    run_id, _rev, transition, labels, annotations, _then = state
    if not run_id or run_id != committed.id:
        checked_state_id(run_id)
    if labels != committed.labels:
        state = state._replace(labels=relabelled(labels, committed.labels))
    if annotations and annotations != committed.annotations:
        checked_notes(annotations)
    if transition.annotations:
        checked_notes(transition.annotations)
    return state


def _rfc3339(due: int) -> str:
    return utc_text(moment(due))


def _due(when: float | timedelta | datetime, now: int) -> int:
    """A time to come as microseconds UTC."""
    return timestamp(when) if isinstance(when, datetime) else now + microseconds(when)
