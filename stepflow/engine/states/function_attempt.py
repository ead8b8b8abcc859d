"""FunctionAttempt: advances a claimed State, or a delay that is due, by flow functions."""

from __future__ import annotations

import asyncio
import logging

from attrs import define, field

from stepflow.drivers.port.commit import Commit, Created, Dequeue, Enqueue, Fence, Release, Write
from stepflow.drivers.port.delays import Delay
from stepflow.drivers.port.step import Step
from stepflow.engine.clock import microseconds
from stepflow.engine.commit.committer import Committer
from stepflow.engine.execution import run_log
from stepflow.engine.execution.at_most_once import block_call
from stepflow.engine.execution.attempt import BLOCKED_RETRY, NO_DEFINITION, Attempt, is_closed
from stepflow.engine.execution.once_calls import ends_claim, why_unknown
from stepflow.engine.intents import at_same_place, known_rows, unknown_call
from stepflow.engine.states.finish_execution import PAUSE_S, finish_execution, keep_progress
from stepflow.engine.states.function_runner import Conflict, FunctionRunner, NoHost, NotHere
from stepflow.engine.states.lease import ExecutionContext, Lease
from stepflow.engine.threads.futures import end_of_own_cancels
from stepflow.engine.threads.raised import own_error
from stepflow.errors import CancelRequested, LostClaim, RemoteFailed, RevMismatch, RunPaused, Stopping, StoreError
from stepflow.model import outcome as outcomes
from stepflow.model.blocked import HOST, refused, stored
from stepflow.model.codec import Unopened
from stepflow.model.ctx import StateCtx
from stepflow.model.error_text import kind_of, loggable, message_of
from stepflow.model.recovery import TRIED, left_alone, max_attempts, retry_after_s, tried
from stepflow.model.retry import RetryPolicy
from stepflow.model.state import NOTE, UNFINISHED, State, Transition

HOSTLESS_S = 2.0  # before a State is tried again that no host executes now
ELSEWHERE_S = 2.0  # before a delay without commit is tried again whose functions are not all here
log = logging.getLogger("stepflow")


@define(eq=False)
class FunctionAttempt(Attempt):
    """A claim on a State that goes to a flow function, or on a delay that is due."""

    committer: Committer = field(kw_only=True)
    runner: FunctionRunner = field(kw_only=True)
    lease: Lease = field(init=False)
    at: ExecutionContext | None = field(init=False, default=None)  # while functions are called

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.lease = Lease(self.state.id, self.claim.fence, self.state.transition.to)

    @property
    def fence(self) -> Fence:
        """The claim that a release must name: each commit of the function may have replaced it."""
        return self.lease.newest or self.claim.fence

    @property
    def moved_at(self) -> float:
        """The monotonic time of the last commit, at first that of the claim."""
        return max(self._moved_at, self.lease.moved_at)

    @property
    def progressed(self) -> bool:
        """Whether this claim has made a commit or written a journal row: earlier crashes do not count any more."""
        return self.lease.commits > 0 or self.lease.wrote

    @property
    def unfinished(self) -> int:
        """How many attempts of the present function died or were interrupted before this claim."""
        return 0 if self.lease.commits else self.claim.row.unfinished

    @property
    def number(self) -> int:
        """Which attempt of the function this is, from 1."""
        return tried(self.state) + 1 + self.unfinished + int(self.state.transition.annotations.get(UNFINISHED, "0"))

    def request_cancel(self) -> None:
        """Let the State end as cancelled: an async function is cancelled now, a sync one comes to its end."""
        self.awaits = self.at is not None and self.at.awaits
        Attempt.request_cancel(self)

    def _stops(self) -> bool:
        return self.stop

    async def run(self) -> Release | None:
        """Advance the State; the Release that ends the claim, None when a commit ended it."""
        self.lease.rows.update(known_rows(self.state, self.rows))
        try:
            if self.record.delay is not None:
                return await self._due(self.record.delay)
            state, row = self.state, self.claim.row
            if not self.cancel and (met := unknown_call(self.lease.rows)) is not None:
                return block_call(self.fence, met, state, self.unfinished)
            if row.crashes and left_alone(state):
                return Release(self.fence, None)
            if row.crashes >= max_attempts(state, self.flow.options.max_crashes):
                await self._end(state, "failed", outcomes.crashed(row.crashes, state))
                return None
            if self.cancel:
                await self._end(state, "cancelled", "")
                return None
            return await self._advance(StateCtx.of(state), self.lease)
        except RevMismatch as error:  # another commit moved it and has its queue row
            run_log.lost(self, error)
            return Release(self.fence, self.clock.now() + microseconds(PAUSE_S))

    async def _advance(self, ctx: StateCtx, lease: Lease) -> Release | None:
        self.at = at = ExecutionContext(
            ctx,
            lease,
            self._stops,
            attempt=self.number,
            should_retry_commit=self.should_retry_commit,
            hold_cancels=self.hold_cancels,
        )
        try:
            outcome = await self.runner.advance(at)
            outcome, release, idle = await finish_execution(self.runner, at, outcome, self.clock.now())
            if isinstance(outcome, Conflict) and release is not None and not lease.commits:
                run_log.conflicted(self, outcome.ids)
                release = release._replace(unfinished=self.unfinished + 1)  # it counts, but is no failure
            if idle:
                raise _NoProgress("its function made no commit and left the State where it was")
            self.handed_over = at.handed_over
            if at.handed_over and release is not None and not lease.commits:
                release = release._replace(crashes=self.claim.row.crashes + 1)  # until the other engine commits
        except (StoreError, LostClaim) as error:
            # The commit of a paused run is durable: its function stops there.
            if error is not at.raised or isinstance(error, RunPaused):
                raise
            return await self._failed(at, error)
        except (Stopping, NotHere) as error:
            if isinstance(error, NotHere):
                await keep_progress(self.runner, at)
            if isinstance(error, NoHost) and at.lease.fence is not None:
                return self._without_host(error, at.lease.fence)
            return None if at.lease.fence is None else Release(at.lease.fence, self.clock.now())
        except RevMismatch as error:
            if at.ctx.id in error.ids and error is not at.raised:
                raise
            return await self._failed(at, error)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever the function raised is the State's error
            if is_closed(self.task) or (issubclass(type(error), asyncio.CancelledError) and self.interrupted):
                raise
            await end_of_own_cancels(self.task)
            return await self._failed(at, own_error(error))
        finally:
            self.at = None  # it refers to this attempt, which is freed at once without the collector of cycles
        self.state = at.ctx.committed
        return release

    def _without_host(self, error: NoHost, fence: Fence) -> Release:
        """The run waits for a host; that is no attempt of its function."""
        due = self.clock.now() + microseconds(HOSTLESS_S)
        blocked, by = (refused(str(error)), HOST) if error.refused else ("", "")
        return Release(fence, due, blocked=blocked, blocked_by=by, unfinished=self.unfinished)

    async def _due(self, delay: Delay) -> Release | None:
        """The delay is due: move the State, unless it has moved since, and go on with it."""
        over = Dequeue(self.fence.id)
        if not delay.commit:
            return await self._snapshot(delay, over)
        state, now = delay.state, self.clock.now()
        take = Enqueue(state.id, state.transition.to, now, owned=True)
        write = Write(state, created=None if state.rev else Created(state.transition.to, "", now))
        try:
            done = await self.committer.submit(Commit(self.fence, writes=(write,), queue=(over, take)))
        except RevMismatch:
            await self.committer.submit(Commit(self.fence, queue=(over,)))
            return None
        (rev,), (epoch,) = done.revs, done.epochs
        moved = state._replace(rev=rev, committed_at=done.committed_at)
        ctx = StateCtx.of(moved)
        self.state = ctx.committed
        fence = Fence(state.id, epoch)
        self.lease = Lease(state.id, fence, state.transition.to, 1, moved_at=self.clock.monotonic(), newest=fence)
        return await self._advance(ctx, self.lease)

    async def _snapshot(self, delay: Delay, over: Dequeue) -> Release | None:
        """A delay without commit: call its function once, wherever the State is now, and not again if it raises."""
        if self.claim.row.crashes < self.flow.options.max_crashes and not self.cancel:
            at = ExecutionContext(StateCtx.of(delay.state), Lease(delay.state.id), self._stops)
            try:
                outcome = await self.runner.advance(at)
                _outcome, release, _idle = await finish_execution(self.runner, at, outcome, self.clock.now())
                if release is not None:
                    await self.committer.release(release)
            except NotHere:  # perhaps only after its first function was called, which another turn calls again
                return Release(self.fence, self.clock.now() + microseconds(ELSEWHERE_S))
            except Exception as error:
                if isinstance(error, StoreError | Stopping) and error is not at.raised:
                    return Release(self.fence, self.clock.now())
                names = {"run_id": delay.state.id, "flow": self.flow.name, "event": "failed"}
                text = "a delay of State %s: its function raised"
                log.error(text, delay.state.id, exc_info=loggable(own_error(error)), extra=names)
        await self.committer.submit(Commit(self.claim.fence, queue=(over,)))
        return None

    async def _failed(self, at: ExecutionContext, error: BaseException) -> Release | None:
        """Try again later, or fail the State for good."""
        remote = error if type(error) is RemoteFailed else None
        lease, self.failure, self.error = at.lease, error, remote.stored if remote else outcomes.describe(error)
        if lease.fence is None:
            return None
        if not self.cancel and (row := unknown_call(lease.rows)) is not None:
            return block_call(lease.fence, row, at.ctx.committed, self.unfinished + 1, why_unknown(at.once, row))
        if ends_claim(at.once, error):
            return self._blocked(lease.fence, lease.to, error)
        state = await self.runner.newest(at.ctx.committed)
        if self.cancel:
            await self._end(
                state, "cancelled", "" if type(error) is asyncio.CancelledError else self.error, lease.fence
            )
            return None
        if left_alone(state):
            return Release(lease.fence, None)
        policy = self.runner.known(state.transition.to, self.flow).options.retry or RetryPolicy()
        attempt, allowed = tried(state) + 1, max_attempts(state, policy.max_attempts)
        covered = remote.retried if remote else policy.covers(error) or type(error) is _NoProgress
        if attempt >= allowed or not covered:
            await self._end(state, "failed", self.error, lease.fence)
            return None
        now = self.clock.now()
        due = now + microseconds(retry_after_s(state, policy.delay_s(attempt, state.id)))
        notes = {TRIED: str(attempt), "stepflow.error": self.error, "stepflow.waiting": "delay"}
        if self.number > attempt and state.transition == self.state.transition:
            notes[UNFINISHED] = str(self.number - attempt)
        before = {k: v for k, v in at_same_place(state, lease.rows).annotations.items() if k != NOTE}
        again = Transition(state.transition.to, {**before, **notes})
        later = Enqueue(state.id, again.to, due, self.claim.row.priority)
        step = Step(state.id, lease.fence.epoch, state.rev, again, state.labels, state.annotations, None, later)
        await self.committer.submit(step)
        run_log.retried(self)
        return None

    def _blocked(self, fence: Fence, to: str, error: BaseException) -> Release:
        """Release a State whose journal does not fit this code."""
        by = NO_DEFINITION if isinstance(error, Unopened) else self.runner.known(to, self.flow).definition
        why = stored(error, f"{kind_of(error)}: {message_of(error)}")
        due = self.clock.now() + BLOCKED_RETRY
        return Release(fence, due, blocked=why, blocked_by=by, unfinished=self.unfinished)

    async def _end(self, state: State, status: str, error: str, fence: Fence | None = None) -> None:
        self.ended, self.error = status, error
        rows = self.lease.rows if self.at is None else self.at.lease.rows
        epoch, final = (fence or self.fence).epoch, outcomes.stopped(at_same_place(state, rows), status, error)
        over = Dequeue(state.id)
        try:
            await self.committer.submit(
                Step(state.id, epoch, state.rev, final, state.labels, state.annotations, None, over)
            )
        except CancelRequested:
            await self._end(state, "cancelled", error, fence)


class _NoProgress(RuntimeError):
    """The function was called and changed nothing."""

    __qualname__ = "RuntimeError"
