"""StateService: carries out commands on States, and reads States."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from datetime import datetime
from typing import Literal

from attrs import evolve

from stepflow.drivers.port.commit import Commit, Committed, Dequeue, Enqueue, Fence
from stepflow.drivers.port.delays import Delay, DelayQuery
from stepflow.drivers.port.queries import HistoryQuery
from stepflow.drivers.port.step import Member, committed_of, step_numbers, step_of
from stepflow.engine.checks import checked_at
from stepflow.engine.clock import Clock
from stepflow.engine.commit.committer import Committer
from stepflow.engine.commit.pending import to_its_end
from stepflow.engine.execution.at_most_once import refuse_to_forget
from stepflow.engine.membership.notifier import Notifier
from stepflow.engine.states.checksum import xxhash64
from stepflow.engine.states.commit_of import build_commit
from stepflow.engine.states.executions import Executions
from stepflow.engine.states.kept_leases import KeptLeases
from stepflow.engine.states.lease import Lease
from stepflow.engine.states.move import apply_move, plan_move, whole_move
from stepflow.engine.states.script import Script, ScriptPlan
from stepflow.engine.states.watch import Start
from stepflow.engine.store_reader import StoreReader
from stepflow.errors import LostClaim, RunPaused, StepflowError
from stepflow.model import commands as c
from stepflow.model.checks import MAX_LIMIT, checked_labels, checked_page, checked_since
from stepflow.model.state import State


class StateService:
    """Commands on one store, under the lease of the calling execution or one that this engine keeps."""

    def __init__(
        self,
        clock: Clock,
        committer: Committer,
        reader: StoreReader,
        notifier: Notifier,
        leases: KeptLeases,
        executions: Executions,
    ) -> None:
        self._clock, self._committer, self._reader, self._notifier = clock, committer, reader, notifier
        self._leases, self._executions = leases, executions

    async def do(self, command: c.Command, lease: Lease | None = None) -> c.States | list[Delay] | None:
        """Carry out one command that is not Execute; a commit under `lease`."""
        match command:
            case c.CommitCommand():
                await self.commit(command, lease)
            case c.GetStates():
                return await self.states(command)
            case c.GetDelayedStates():
                return await self.delayed(command)
            case c.DelayCommand() | c.StoreData():
                await self._perform((command,), lease, atomic=False)
            case _:
                (await self.plan((command,), atomic=False)).apply()
        return None

    def commit(self, command: c.CommitCommand, lease: Lease | None = None) -> Awaitable[None]:
        """All or nothing; the callers' objects change only when it is durable. Raises RevMismatch, LostClaim."""
        commands = command.commands
        if len(commands) == 1 and isinstance(commands[0], c.ENDS_WITH_A_WRITE):
            return self._move(commands[0], lease)
        return self._perform(commands, lease, atomic=True)

    async def _move(self, command: c.Transit | c.Park, lease: Lease | None) -> None:
        """Commit one transit or park alone."""
        mine = lease or self._executions.lease() or Lease()
        step = plan_move(command, mine, self._clock)
        member: Member = step
        if not (step.rev and step.epoch):
            member = whole_move(step, self._clock.now())
        elif mine.rows:
            refuse_to_forget(mine.rows)
            member = step.commit()._replace(forget=("",))
        try:
            done, cancelled = await to_its_end(self._committer.submit(member))
        except RunPaused as paused:
            if mine.fence is not None:
                raise
            self._leases.drop(step.id)
            apply_move(command.ctx, step, step_numbers(paused.answer))
            return
        if isinstance(done, Committed):
            done = step_numbers(done)
        apply_move(command.ctx, step, done)
        if type(member) is Commit and member.forget:
            mine.rows.clear()
        if step.part is not None:
            self._note_row(step.part, done[2] if len(done) > 2 else 0, command.ctx.committed, mine)
            self._tell_due()
        if step.id == mine.id:
            mine.to, mine.commits, mine.delayed = step.transition.to, mine.commits + 1, False
        mine.moved_at = self._clock.monotonic()
        if cancelled:
            raise asyncio.CancelledError

    async def _perform(self, commands: Sequence[c.Command], lease: Lease | None, *, atomic: bool) -> None:
        plan = await self.plan(commands, atomic=atomic)
        if plan.durable:
            await self._commit(plan, lease)
        else:
            plan.apply()

    async def _commit(self, plan: ScriptPlan, lease: Lease | None) -> None:
        """Make the plan durable, then change the callers' objects."""
        mine = lease or self._lease_for(plan.delays)
        while True:
            commit = build_commit(plan, mine, plan.now)
            if commit.forget:
                refuse_to_forget(mine.rows)
            try:
                answer, cancelled = await to_its_end(self._committer.submit(step_of(commit) or commit))
                done = committed_of(answer)
            except RunPaused as paused:
                if mine is lease or self._executions.current() is not None:
                    raise
                done = committed_of(paused.answer)  # it moved States that are paused, and holds none of them
                for state_id in {mine.id, *[write.state.id for write in plan.writes]}:
                    self._leases.drop(state_id)
                plan.apply(done.revs, done.data_revs, done.committed_at)
                return
            except LostClaim:
                if mine is lease or mine.fence is None or self._executions.current() is not None:
                    raise
                self._leases.drop(mine.id)  # another engine moved the State meanwhile
                mine = Lease()
            else:
                break
        plan.apply(done.revs, done.data_revs, done.committed_at)
        if commit.forget:
            mine.rows.clear()
        self._note(plan, commit, mine, done)
        if cancelled:
            raise asyncio.CancelledError

    async def states(self, command: c.GetStates) -> c.States:
        """Revisions in ascending order, and whether more match now. A `since_rev` that does not exist yet is an error."""
        page = await self.page(command)
        if not page.states:
            await self._reached(command.since_rev)
        return page

    async def page(self, command: c.GetStates) -> c.States:
        """The revisions that match, ascending, and whether more match now; none behind the newest revision."""
        limit, newest = min(command.limit, MAX_LIMIT), command.since_rev == -1
        query = HistoryQuery(
            since_rev=0 if newest else command.since_rev,
            limit=1 if newest else limit + 1,
            last=newest,
            labels=groups(command.labels),
            since=0 if command.since is None else checked_at(command.since),
            latest_only=command.latest_only,
            exchange=False,
        )
        found = [r.state for r in await self._reader.read(query)]
        return c.States(tuple(found[:limit]), len(found) > limit)

    async def start_of(self, labels: Sequence[Mapping[str, str]], since: int | datetime | Literal["latest"]) -> Start:
        """Where a watcher begins."""
        if not isinstance(since, datetime) and since != "latest" and checked_since(since) != -1:
            await self._reached(since)
            return Start(since)
        query = HistoryQuery(limit=1, labels=groups(labels), last=not isinstance(since, datetime), exchange=False)
        if isinstance(since, datetime):
            query = evolve(query, since=checked_at(since))
        found = await self._reader.read(query)
        return Start(found[0].state.rev - 1 if found else await self._head(), query.since)

    async def _head(self) -> int:
        return (await self._reader.next_due({})).head

    async def _reached(self, since_rev: int) -> None:
        """Nothing can have been seen of the future: such a revision belongs to another store."""
        if since_rev > 0 and since_rev > (head := await self._head()):
            raise StepflowError(
                f"since_rev={since_rev}: the newest revision of this store is {head}; is it a revision of another store?"
            )

    async def delayed(self, command: c.GetDelayedStates) -> list[Delay]:
        """Delays with `since < due <= until` (default: now) by due and offset."""
        until = self._clock.now() if command.until is None else checked_at(command.until)
        since = -1 if command.since is None else checked_at(command.since)
        query = DelayQuery(until, since, *checked_page(command.offset, command.limit))
        found: list[Delay] = await self._reader.read(query)
        return found

    def _lease_for(self, delays: Sequence[Delay]) -> Lease:
        """The lease under which a commit is made: of the execution that makes it, or of a kept State that it delays."""
        if (lease := self._executions.lease()) is not None:
            return lease
        kept = (self._leases.find(delay.state.id, delay.state.rev) for delay in delays)
        return next((lease for lease in kept if lease is not None), None) or Lease()

    async def plan(self, commands: Sequence[c.Command], *, atomic: bool) -> ScriptPlan:
        """What the commands will do, with what they read read; nothing is written, and the callers' objects stay as they are."""
        steps = Script(commands, self._clock.now(), xxhash64, atomic).plan()
        try:
            query = next(steps)
            while True:
                query = steps.send(await self._reader.read(query))
        except StopIteration as stop:
            plan: ScriptPlan = stop.value
            return plan

    def _note(self, plan: ScriptPlan, commit: Commit, lease: Lease, done: Committed) -> None:
        """Note which claims a commit gave to this engine and which it took away, and tell of the States that it moved."""
        moved = {w.state.id: w.state._replace(rev=rev) for w, rev in zip(plan.writes, done.revs, strict=True)}
        epochs = iter(done.epochs)
        for row in commit.queue:
            self._note_row(row, next(epochs) if isinstance(row, Enqueue) else 0, moved.get(row.id), lease)
        if (state := moved.get(lease.id)) is not None:
            lease.to, lease.commits, lease.delayed = state.transition.to, lease.commits + 1, False
        for delay in plan.delays:
            lease.delayed = lease.delayed or (delay.commit and delay.state.id == lease.id)
            self._notifier.run_changed(delay.state.id)
        lease.moved_at = self._clock.monotonic()
        if commit.queue or plan.delays:  # else the store has the same due times as before
            self._tell_due()

    def _note_row(self, row: Enqueue | Dequeue, epoch: int, state: State | None, lease: Lease) -> None:
        """A queue row is held from now on, under this epoch, or it is gone."""
        fence = Fence(row.id, epoch) if isinstance(row, Enqueue) else None
        if row.id == lease.id:
            lease.renew(fence)
        if fence is not None and state is not None and (row.id != lease.id or self._leases.has(lease)):
            self._leases.keep(fence, state)
        else:
            self._leases.drop(row.id)

    def _tell_due(self) -> None:
        self._notifier.schedule_at(0)
        self._leases.beat_while_held()


def groups(labels: Sequence[Mapping[str, str]]) -> tuple[Mapping[str, str], ...]:
    """Groups of labels as a query takes them; an empty group asks for nothing and is ignored."""
    return tuple(checked for group in labels if (checked := checked_labels(group)))
