"""The desk: carries out commands for whoever asks, keeps the claims that its own commits gave, and reads States."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from attrs import define, evolve

from stepflow.drivers.port.commit import Commit, Enqueue, Fence, Release
from stepflow.drivers.port.delays import Delay, DelayQuery
from stepflow.drivers.port.queries import HistoryQuery
from stepflow.drivers.port.store import Store
from stepflow.engine.checks import checked_at, checked_labels, checked_limit
from stepflow.engine.clock import Clock, microseconds
from stepflow.engine.commit.committer import Committer
from stepflow.engine.states.checks import checked_page, checked_since
from stepflow.engine.states.checksum import xxhash64
from stepflow.engine.states.commit_of import build_commit, queue_of, woken_by
from stepflow.engine.states.lease import Lease, execution_context
from stepflow.engine.states.script import Effects, NeedsRead, Script, copies
from stepflow.engine.states.watch import Start
from stepflow.errors import LostClaim, StepflowError
from stepflow.model import commands as c
from stepflow.model.ctx import StateCtx
from stepflow.model.recovery import left_alone, retry_after_s
from stepflow.model.state import State

KEEP_S = 120.0  # for which a State that a commit of ours moved waits to be executed here


@define(eq=False)
class KeptLease:
    """The claim on a State that a commit of ours moved: on its revision `rev`, which goes to flow `to`; given back at `until`."""

    fence: Fence
    rev: int
    to: str
    until: int
    alone: bool  # nobody else may execute it


class StateService:
    """Commands on one store. `read(fn, *args)` calls a reading method of the store off the loop."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        committer: Committer,
        read: Callable[..., Any],
        on_commit: Callable[[Sequence[str]], None],
    ) -> None:
        self._store, self._clock, self._committer, self._read, self._on_commit = (
            store,
            clock,
            committer,
            read,
            on_commit,
        )
        self.kept: dict[str, KeptLease] = {}  # by State id

    async def do(self, command: c.Command, lease: Lease | None = None) -> c.States | list[Delay] | None:
        """Carry out one command that is not Execute; a commit under the claim that `holding` says."""
        match command:
            case c.Commit():
                await self.commit(command, lease)
            case c.GetStates():
                return await self.states(command)
            case c.GetDelayedStates():
                return await self.delayed(command)
            case c.Delay() | c.StoreData():
                await self._commit(self._script((command,), atomic=False), lease)
            case _:
                script = self._script((command,), atomic=False)
                await self._rehearsed(script)
                script.perform(_itself, (), ())
        return None

    async def commit(self, command: c.Commit, lease: Lease | None = None) -> None:
        """All or nothing; the callers' objects change only when it is durable. Raises RevMismatch, LostClaim."""
        if not command.commands:
            raise StepflowError("no commands to commit: give commit(...) at least one")
        await self._commit(self._script(command.commands, atomic=True), lease)

    async def _commit(self, script: Script, lease: Lease | None) -> None:
        effects = await self._rehearsed(script)
        if not effects.writes and not effects.delays and not effects.data:
            script.perform(_itself, (), ())
            return
        mine = lease or self._lease_for(effects)
        try:
            await self._settle(script, effects, mine)
        except LostClaim:
            if mine is lease or execution_context(self) is not None:
                raise
            self.kept.pop(mine.id, None)  # somebody else moved the State meanwhile
            await self._settle(script, effects, Lease())

    async def _settle(self, script: Script, effects: Effects, mine: Lease) -> None:
        """Make the effects durable, then perform the script on the callers' objects."""

        def resolve(revs: tuple[int, ...], data_revs: tuple[int, ...], now: int) -> Commit:
            script.now = now
            return build_commit(script.perform(copies(), revs, data_revs), mine, now)

        numbers = await self._committer.submit(build_commit(effects, mine, script.now, resolve))
        count, blobs = len(effects.writes), len(effects.data)
        revs, epochs = numbers[:count], numbers[count + blobs + len(effects.delays) :]
        self._note(script.perform(_itself, revs, numbers[count : count + blobs]), mine, revs, epochs)

    async def states(self, command: c.GetStates) -> c.States:
        """Revisions in ascending order, and whether more match now. A `since_rev` that does not exist yet is an error."""
        limit = checked_limit(command.limit)
        newest = checked_since(command.since_rev) == -1
        query = HistoryQuery(
            since_rev=0 if newest else command.since_rev,
            limit=1 if newest else limit + 1,
            last=newest,
            labels=groups(command.labels),
            since=0 if command.since is None else checked_at(command.since),
            latest_only=command.latest_only,
        )
        found = [r.state for r in await self._read(self._store.read, query)]
        if not found:
            await self._reached(command.since_rev)
        return c.States(tuple(found[:limit]), len(found) > limit)

    async def start_of(self, labels: Sequence[Mapping[str, str]], since: int | datetime | Literal["latest"]) -> Start:
        """Where a watcher begins."""
        if not isinstance(since, datetime) and since != "latest" and checked_since(since) != -1:
            await self._reached(since)
            return Start(since)
        query = HistoryQuery(limit=1, labels=groups(labels), last=not isinstance(since, datetime))
        if isinstance(since, datetime):
            query = evolve(query, since=checked_at(since))
        found = await self._read(self._store.read, query)
        return Start(found[0].state.rev - 1 if found else await self._head(), query.since)

    async def _head(self) -> int:
        head: int = (await self._read(self._store.next_due, {}, self._clock.now())).head
        return head

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
        found: list[Delay] = await self._read(self._store.read, query)
        return found

    def take(self, ctx: StateCtx) -> Lease:
        """The claim on a State to execute it: one that a commit of ours left with us, or that of the function that asks."""
        execution = execution_context(self)
        if execution is not None and execution.lease.id == ctx.id:
            mine = execution.lease
            fence, mine.fence = mine.fence, None
            return Lease(ctx.id, fence, mine.to, mine.commits, mine.delayed)
        kept = self.kept.get(ctx.id)
        if kept is None or kept.rev != ctx.committed.rev:
            return Lease(ctx.id, to=ctx.transition.to)
        del self.kept[ctx.id]
        return Lease(ctx.id, kept.fence, kept.to)

    async def release_kept(self, ids: Iterable[str]) -> None:
        """Let any worker have these States, if they are still kept here."""
        for run_id in list(ids):
            kept = self.kept.pop(run_id, None)
            if kept is not None:
                await self._release(kept)

    async def release_lease(self, lease: Lease) -> None:
        """The execution goes on with another State: this one is open to any worker, unless a delay will wake it."""
        if lease.fence is not None:
            await self._committer.release(Release(lease.fence, None if lease.delayed else self._clock.now()))
            lease.fence = None

    async def _release(self, kept: KeptLease) -> None:
        await self._committer.release(Release(kept.fence, None if kept.alone else self._clock.now()))

    async def release_expired(self) -> None:
        """Let any worker have the States that a commit of ours moved long ago and nobody executed."""
        now = self._clock.now()
        for run_id, kept in list(self.kept.items()):
            if now >= kept.until:
                del self.kept[run_id]
                await self._release(kept)

    async def release_all(self) -> None:
        """The engine is closed: what others may not execute has to lose its queue row, the rest is freed with the session."""
        await self.release_kept(run_id for run_id, kept in self.kept.items() if kept.alone)

    def _lease_for(self, effects: Effects) -> Lease:
        """The claim under which a commit is made: of the flow function that makes it, or of a State that it delays."""
        execution = execution_context(self)
        if execution is not None:
            return execution.lease
        for delay in effects.delays:
            kept = self.kept.get(delay.state.id)
            if kept is not None and kept.rev == delay.state.rev:
                return Lease(delay.state.id, kept.fence, kept.to)
        return Lease()

    def _script(self, commands: Sequence[c.Command], *, atomic: bool) -> Script:
        return Script(commands, self._clock.now(), xxhash64, atomic)

    async def _rehearsed(self, script: Script) -> Effects:
        while True:
            try:
                return script.rehearse()
            except NeedsRead as need:
                answer: Any = await self._read(self._store.read, need.query)
                script.reads[need.index] = answer

    def _note(self, done: Effects, lease: Lease, revs: Sequence[int], epochs: Sequence[int]) -> None:
        """Remember which claims a commit gave to this engine, and which it took away."""
        written = {state.id: state._replace(rev=rev) for state, rev in zip(done.writes, revs, strict=True)}
        numbers = iter(epochs)
        for row in queue_of(done, lease, 0):
            fence = Fence(row.id, next(numbers)) if isinstance(row, Enqueue) else None
            if row.id == lease.id:
                lease.fence = fence
            if fence is None or row.id == lease.id:
                self.kept.pop(row.id, None)
            else:
                self._keep(fence, written[row.id])
        if lease.id in written:
            lease.to, lease.commits, lease.delayed = written[lease.id].transition.to, lease.commits + 1, False
        lease.delayed = lease.delayed or lease.id in woken_by(done)
        if lease.on_commit is not None:
            lease.on_commit()
        self._on_commit([*written, *(d.state.id for d in done.delays)])

    def _keep(self, fence: Fence, state: State) -> None:
        wait = retry_after_s(state, KEEP_S)
        until = self._clock.now() + microseconds(wait)
        if (execution := execution_context(self)) is not None:
            execution.left.add(fence.id)
        self.kept[fence.id] = KeptLease(fence, state.rev, state.transition.to, until, left_alone(state))


def _itself(ctx: StateCtx) -> StateCtx:
    return ctx


def groups(labels: Sequence[Mapping[str, str]]) -> tuple[Mapping[str, str], ...]:
    """Groups of labels as a query takes them; an empty group asks for nothing and is ignored."""
    return tuple(checked for group in labels if (checked := checked_labels(group)))
