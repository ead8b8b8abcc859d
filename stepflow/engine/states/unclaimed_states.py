"""UnclaimedStates: carries out commands of programs elsewhere that advance their States themselves and claim nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from stepflow.drivers.port.commit import Commit, Committed, Dequeue, Enqueue
from stepflow.drivers.port.delays import DataQuery, DataWrite, Delay
from stepflow.engine.clock import Clock, microseconds
from stepflow.engine.commit.committer import Committer
from stepflow.engine.commit.pending import to_its_end
from stepflow.engine.membership.notifier import Notifier
from stepflow.engine.states.checks import checked_data
from stepflow.engine.states.checksum import xxhash64
from stepflow.engine.states.commit_of import Queue, commit_of, woken_by
from stepflow.engine.states.script import ScriptPlan
from stepflow.engine.states.service import StateService
from stepflow.engine.store_reader import StoreReader
from stepflow.errors import NotFound
from stepflow.model import commands as c
from stepflow.model.ctx import StateCtx
from stepflow.model.data import CHECKSUM, Data, data_rev
from stepflow.model.recovery import left_alone, retry_after_s

RECOVER_S = 120.0  # after a commit; a program that goes on with its State commits again before then


class UnclaimedStates:
    """What programs elsewhere may do with the States of one store.

    A commit claims nothing for this engine. A State that has not moved on RECOVER_S after its commit (its annotation may name another
    time) is due for the workers that have registered its flow: the program that advanced it is taken for dead.
    """

    def __init__(
        self, service: StateService, committer: Committer, reader: StoreReader, notifier: Notifier, clock: Clock
    ) -> None:
        self._service, self._committer, self._reader = service, committer, reader
        self._notifier, self._clock = notifier, clock

    async def commit(self, commands: Sequence[c.Command]) -> None:
        """All or nothing; the callers' objects change only when it is durable. Raises RevMismatch."""
        await self._perform(await self._service.plan(commands, atomic=True))

    async def read(self, command: c.GetStateByID | c.GetStateByLabels) -> None:
        """Read a State into the working copy that the command names; NotFound if there is none."""
        (await self._service.plan((command,), atomic=False)).apply()

    async def delay(self, command: c.DelayCommand) -> Delay:
        """Make a delay durable; the State stays as it is."""
        plan = await self._service.plan((command,), atomic=False)
        await self._perform(plan)
        return plan.delays[0]

    async def store_data(self, ctx: StateCtx, alias: str) -> None:
        """Store the blob under `alias` as a new revision, whether it changed or not; the State's annotations stay as they are."""
        data = checked_data(alias, ctx.data(alias))
        annotations = {**data.annotations, CHECKSUM: xxhash64(data.blob)}
        done = await self._submit(Commit(data=(DataWrite(ctx.id, data.blob, annotations),)))
        data.rev, data.annotations = done.data_revs[0], annotations

    async def get_data(self, ctx: StateCtx, alias: str) -> None:
        """Read the blob that the State refers to by `alias`, whether it is loaded or not; NotFound if there is none."""
        rev = data_rev(ctx.annotations, alias)
        found = await self._reader.read(DataQuery(rev)) if rev < 1 << 63 else []
        if not found:
            raise NotFound(f"data not found: revision {rev} of {alias!r}")
        ctx.datas[alias] = Data(found[0].blob, found[0].rev, dict(found[0].annotations))

    async def states(self, command: c.GetStates) -> c.States:
        """Revisions in ascending order, and whether more match now."""
        return await self._service.page(command)

    async def delayed(self, command: c.GetDelayedStates) -> list[Delay]:
        """Delays with `since < due <= until` (default: now) by due and offset."""
        return await self._service.delayed(command)

    async def _perform(self, plan: ScriptPlan) -> None:
        if not plan.durable:
            plan.apply()
            return
        rows = _rows(plan)
        done = await self._submit(commit_of(plan, rows))
        plan.apply(done.revs, done.data_revs, done.committed_at)
        for write in plan.writes:
            self._notifier.run_changed(write.state.id)
        if rows or plan.delays:
            self._notifier.schedule_at(0)

    async def _submit(self, commit: Commit) -> Committed:
        answer, cancelled = await to_its_end(self._committer.submit(commit))
        if cancelled:
            raise asyncio.CancelledError
        return answer


def _rows(plan: ScriptPlan) -> Queue:
    """What becomes of the queue rows: a State that goes to a flow is due when the program that advances it must have died."""
    rows: list[Enqueue | Dequeue] = []
    woken = woken_by(plan) if plan.delays else ()
    for write in plan.writes:
        state = write.state
        if state.parked or state.id in woken or left_alone(state):
            rows.append(Dequeue(state.id))
        else:
            due = plan.now + microseconds(retry_after_s(state, RECOVER_S))
            rows.append(Enqueue(state.id, state.transition.to, due))
    return tuple(rows)
