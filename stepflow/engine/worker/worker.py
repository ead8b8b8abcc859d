"""Worker: claims due runs, lets attempts advance them, and finds out when nothing is left to do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from stepflow.drivers.port.background import Guard
from stepflow.drivers.port.commit import Claim, Record
from stepflow.drivers.port.refusals import lost_claim
from stepflow.drivers.port.store import Store
from stepflow.engine.clock import NEVER, SECOND, Clock
from stepflow.engine.commit.committer import Committer
from stepflow.engine.execution import run_log
from stepflow.engine.execution.attempt import Attempt, SteppedAttempt, is_closed
from stepflow.engine.execution.time_limit import TimeLimits
from stepflow.engine.membership.heartbeat import Heartbeat
from stepflow.engine.membership.notifier import Notifier
from stepflow.engine.states.executions import Executions
from stepflow.engine.states.watch import RevisionFeed
from stepflow.engine.threads.futures import end_of_cancelled, end_of_own_cancels, join_task
from stepflow.engine.worker.blocks import Blocks
from stepflow.engine.worker.early_ends import RunAlarms, drop_all, give_up, interrupt_hung
from stepflow.engine.worker.firing import Firing
from stepflow.engine.worker.idle_looks import MOST_UNKNOWN, SOON, IdleLooks
from stepflow.engine.worker.journals import Rows, read_claims, read_journals
from stepflow.engine.worker.lent_slots import LentSlots
from stepflow.engine.worker.quarantine import Quarantine
from stepflow.engine.worker.quota import Turns, definitions, flows_with_free_slots, quota
from stepflow.engine.worker.redefinition import Redefinition
from stepflow.engine.worker.step_cancels import StepCancels
from stepflow.engine.worker.styles import UNREADABLE, Styles
from stepflow.engine.worker.unreleased import UnreleasedClaims
from stepflow.errors import LostClaim, OutcomeUnknown, PauseRequested, RevMismatch, StoreError, StoreReplaced
from stepflow.model.current import Current
from stepflow.model.family import PARENT
from stepflow.model.flow import Flow
from stepflow.model.lifecycle import Status

log = logging.getLogger("stepflow")
FULL_LOOK_S = 5.0  # between two looks for suspects by a worker that has no free slot
MAX_SLEEP_S = 1.0  # between two looks at the clock: one that jumps is noticed after this time
BACK_OFF = SECOND  # of a run whose commit was refused


class Worker:
    """Advances runs of `flows`, at most `concurrency` at a time; `ended` counts those that it saw end, by status."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        committer: Committer,
        notifier: Notifier,
        heartbeat: Heartbeat,
        styles: Styles,
        limits: TimeLimits,
        feed: RevisionFeed,
        executions: Executions,
        redefinition: Redefinition,
        firing: Firing,
        owner: str,
        flows: Mapping[str, Flow[Any, Any]],
        concurrency: int,
        resume: Callable[[], None],
    ) -> None:
        self._store, self._clock, self._committer, self._heartbeat = store, clock, committer, heartbeat
        self._notifier, self._styles, self._feed, self._executions = notifier, styles, feed, executions
        self._owner, self._flows, self._concurrency, self._limits = owner, flows, concurrency, limits
        self._redefinition, self._firing, self._wake, self._looks = redefinition, firing, asyncio.Event(), IdleLooks()
        self._loop, self.ended, self.guard = asyncio.get_running_loop(), firing.ends, Guard("worker", MAX_SLEEP_S)
        self._held: dict[str, Attempt] = {}
        self._lent, self._quarantine = LentSlots(concurrency), Quarantine()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._turns, self._alarms = Turns(), RunAlarms(clock, self._loop)
        self._unreleased = UnreleasedClaims(store, clock, owner, lambda: {*self._held, *executions.ids})
        self._next_due = 0  # when a claim may find something, as far as this worker knows
        self._looked, self._trusted_s = float("-inf"), 0.0  # when `next_due` was asked; how long the answer holds
        self._stopping, self._retry_commits, self._until_idle = False, False, False
        self.idle_until: int | None = None  # when `run(until_idle=True)` ended: when the next run is due
        self._claiming = self._claim_was_empty = False  # a claim is on its way; what seemed to be due was not claimed
        self._error: StoreError | None = None
        self._interrupt: KeyboardInterrupt | None = None
        self._step_cancels = StepCancels(self._held.values, self._release_unstarted, resume)
        self._unknown, self._blocks = 0, Blocks()  # writes of unknown outcome since `run` began
        notifier.on_due(self.schedule_at)
        notifier.on_cancel(self.cancel)
        notifier.on_wait(self._lend)
        notifier.on_overdue(lambda: give_up(self._held.values()))
        notifier.on_reclaimed(lambda: drop_all(self._held.values()))

    @property
    def busy(self) -> bool:
        """Whether this worker holds claims."""
        return bool(self._held)

    @property
    def at_rest(self) -> bool:
        """Whether it holds nothing, claims nothing and looks for nothing: `stop` would only be `quit`."""
        return not (self._held or self._unreleased or self._claiming or self._redefinition.searching)

    def runs(self, current: Current) -> bool:
        """Whether this belongs to an attempt of this worker; from any thread."""
        return isinstance(held := self._held.get(current.run_id), SteppedAttempt) and held.current is current

    def schedule_at(self, due: int) -> None:
        """Something may be due at `due` (microseconds UTC; 0: now)."""
        self._next_due = min(self._next_due, due)
        self._wake.set()

    def cancel(self, run_id: str) -> None:
        """Let the attempt of this run, if any, end as cancelled."""
        for attempt in self._held.values():
            if attempt.state.id == run_id:
                attempt.request_cancel()

    def _lend(self, run_id: str, change: int) -> None:
        if run_id in self._held:
            self._lent.change(run_id, change)
            self.schedule_at(0)

    async def run(self, until_idle: bool) -> bool:
        """Work until `stop` is called (False) or, with `until_idle`, nothing is left to do; a StoreError then ends it, but for writes of unknown outcome."""
        self._next_due, self._interrupt, self._unknown, self._until_idle = 0, None, 0, until_idle
        self._retry_commits = not until_idle
        if not (idle := await self._step_cancels.run(partial(self._turn, until_idle))) and self._interrupt is not None:
            raise self._interrupt
        return idle

    async def _turn(self, until_idle: bool) -> bool | None:
        """Claim, then wait for something to happen; True if nothing is left to do, False if asked to stop, else None."""
        if self._stopping:
            return False
        self._wake.clear()
        try:
            more = await self._fill()
            more = (self._redefinition.left and await self._follow(until_idle)) or more
            if not more and until_idle and not self._held and self._error is None and not self._executions.busy:
                if await self._look_for_idle():
                    return True
                more = self._next_due == 0
        except StoreError as error:
            more, self._error = False, error
        except Exception as error:
            if until_idle:
                raise
            await asyncio.sleep(self.guard.failed(error))
            self._next_due = 0
            return None
        else:
            self.guard.succeeded()
        if not more and not await self._troubled(until_idle):
            await self._sleep()
        return None

    def quit(self) -> None:
        """Claim no more; attempts release their claims at their next step."""
        self._stopping = True
        self._wake.set()
        for attempt in self._held.values():
            attempt.stop, attempt.retry_commits = True, False
        if self._held:
            log.info("asked to stop: %d run(s) go back after their present step", len(self._held))
        self._feed.wake()  # functions that wait for news see that they should stop

    def ready(self) -> None:
        """Forget earlier requests to stop: work is about to begin."""
        self._stopping = False

    async def stop(self, grace_s: float) -> None:
        """Claim no more, release what has not begun; steps that have begun get `grace_s` seconds to end."""
        self.quit()
        self._redefinition.stop()
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=grace_s)
        for attempt in self._held.values():
            attempt.interrupt()
        # A step that goes on loses its claim, and with it its next write.
        await end_of_cancelled(list(self._tasks.values()))
        self._release_unstarted(every=True)
        try:
            if self._unreleased or self._claiming:  # what is on its way is written before this
                await self._committer.call(self._unreleased.release_all)
        except Exception as error:  # noqa: BLE001 - logged
            self._unreleased.left(error)

    def _release_unstarted(self, *, every: bool = False) -> None:
        """Release the claims of attempts that do not do it themselves, as their tasks were cancelled before they began, or of all."""
        for run_id in [run_id for run_id, task in self._tasks.items() if every or task.done()]:
            self._unreleased.failed(self._held[run_id].release())
            del self._held[run_id], self._tasks[run_id]
        self._next_due = 0

    async def _troubled(self, until_idle: bool) -> bool:
        """The store failed: raise the error if asked to end, else wait a little and go on."""
        if (error := self._error) is None or (until_idle and self._held):
            return False
        self._error = None
        if isinstance(error, StoreReplaced):
            log.error("the worker ends: %s", error)
            raise error
        self._unknown += isinstance(error, OutcomeUnknown)
        if until_idle and (self._unknown > MOST_UNKNOWN or not isinstance(error, OutcomeUnknown)):
            raise error
        log.error("the store failed, trying again: %s", error)
        self._next_due = 0
        await asyncio.sleep(MAX_SLEEP_S)
        return True

    async def _follow(self, until_idle: bool) -> bool:
        """Advance waiting runs that the definition registered here lets wait otherwise; True if more of them were found."""
        if self._error is not None or not self._free() or (until_idle and self._redefinition.waits(bool(self._held))):
            return False
        await self._redefinition.advance(wait=until_idle or self._clock.virtual)
        while self._free() and (claim := await self._redefinition.next_claim()) is not None:
            assert claim.record is not None
            rows = await read_journals(self._committer, self._store, [(claim, claim.record)])
            task = self._begin(claim, claim.record, False, rows.get(claim.fence.id, ()))
            if self._clock.virtual:
                await join_task(task)
        return self._redefinition.left and self._free() > 0 and (until_idle or self._clock.virtual)

    async def _fill(self) -> bool:
        """Claim what is due and fits; True if more may be due for the slots that are left."""
        interrupt_hung(self._held.values(), self._clock.monotonic())
        if self._error is None and await self._firing.fire():
            self._next_due = 0
        if self._unreleased and self._error is None:
            await self._committer.call(self._unreleased.release_all)
            self._next_due = 0
        if not (free := self._free()) and self._clock.monotonic() - self._looked > FULL_LOOK_S:
            await self._look_ahead()
            self._quarantine.makes_way(self._held.values(), self._clock.monotonic())
        if not free or self._error is not None or self._clock.now() < self._next_due:
            return False
        if self._quarantine.makes_way(self._held.values(), self._clock.monotonic()):
            if self._held:
                return False
            self._quarantine.due = await self._claim(definitions(self._flows), 1, suspects=True)
            if self._quarantine.due:
                return True
        self._next_due, more, taken, users = NEVER, False, 0, self._lent.users(self._held)
        for flows, limit in quota(self._turns.order(self._flows, users), users, free):
            if (slots := min(limit, self._free())) > 0:
                taken += (claimed := await self._claim(flows, slots, suspects=False))
                more = claimed == slots or more
        if more:
            self._next_due = 0
        if taken and not more and self._until_idle and not self._clock.virtual:
            self._next_due = min(self._next_due, self._clock.now() + SOON)  # nothing may be left to do before then
        elif not more or self._clock.monotonic() - self._looked > MAX_SLEEP_S:
            await self._look_ahead()
        self._claim_was_empty = not taken and self._next_due <= self._clock.now()
        return more and self._free() > 0

    def _free(self) -> int:
        stuck = self._stopping or self._heartbeat.overdue or self._quarantine.runs_alone(self._held.values())
        if stuck or self._limits.exhausted(self._concurrency, self.guard):
            return 0
        return max(0, (1 if self._clock.virtual else self._concurrency) - self._lent.used(self._held))

    async def _claim(self, flows: Mapping[str, str], limit: int, *, suspects: bool) -> int:
        take = partial(self._unreleased.take, flows, limit, suspects)
        self._claiming = True
        claims = await self._committer.run_inline_or_in_writer(
            partial(take, self._store.claim_if_free), partial(take, self._store.claim)
        )
        self._claiming = False
        begun = self._unreleased.begun
        for claim, record, rows in await read_claims(self._committer, self._store, self._clock, claims, begun):
            self._turns.served(claim.row.flow)
            task = self._begin(claim, record, suspects, rows)
            if self._clock.virtual:
                await join_task(task)
        return len(claims)

    def _begin(self, claim: Claim, record: Record, runs_alone: bool, rows: Rows = ()) -> asyncio.Task[None]:
        flow = self._flows[claim.row.flow]
        try:
            attempt = self._styles[flow.kind](flow, claim, record)
        except Exception as error:  # noqa: BLE001 - what is stored of the run cannot be read
            attempt = self._styles[UNREADABLE](flow, claim, record, failure=error)
        attempt.rows, attempt.stop, attempt.step_cancels = rows, self._stopping, self._step_cancels
        if attempt.state.labels:
            self._alarms.set(attempt)
        attempt.retry_commits = self._retry_commits and not self._stopping
        self._heartbeat.hurry()
        if not flow.inline:
            self._step_cancels.watch(self._loop)
        self._held[claim.fence.id] = attempt
        self._unreleased.begun(claim)
        if runs_alone:
            self._quarantine.begun(attempt)
        if claim.row.crashes:
            run_log.taken_over(attempt)
        attempt.task = task = self._tasks[claim.fence.id] = self._loop.create_task(self._advance(attempt))
        return task

    async def _advance(self, attempt: Attempt) -> None:
        run_id = attempt.claim.fence.id
        if run_id not in self._tasks:  # an eager task factory: `_begin` goes on first
            await asyncio.sleep(0)
        try:
            release = await attempt.run()
        except (LostClaim, RevMismatch, PauseRequested) as error:
            attempt.ended = ""
            run_log.lost(attempt, error)
            release = None if isinstance(error, LostClaim) else attempt.release(error)  # the claim may still be ours
        except StoreError as error:
            self._error, attempt.ended = error, ""
            release = attempt.release()._replace(due=self._clock.now() + BACK_OFF, crashes=None)
        except asyncio.CancelledError:
            release = attempt.release()
        except KeyboardInterrupt as interrupt:  # passed on by `run`
            self._interrupt, release = interrupt, attempt.release(interrupt)
            self.quit()
        except BaseException as error:
            if is_closed(attempt.task):  # the loop is gone
                raise
            release = attempt.blocked_by(error)
        await end_of_own_cancels(attempt.task)
        try:
            if release is not None:
                held = await self._committer.release(release)
                if not held:
                    run_log.lost(attempt, lost_claim(*release.fence))
                elif release.blocked:
                    self._blocks.note(attempt, release)
                self.schedule_at(0 if release.events else NEVER if release.due is None else release.due)
        except Exception as error:  # noqa: BLE001 - logged, or raised by `run`
            if isinstance(error, StoreError):
                self._error = error
            else:
                self.guard.note(error)
            if release is not None:
                self._unreleased.failed(release)
        finally:
            if attempt.run_end is not None:
                self._alarms.drop(attempt)
            if self._held.get(run_id) is attempt:
                del self._held[run_id], self._tasks[run_id]
                self._lent.drop(run_id)
            limited = attempt.flow.options.concurrency is not None or attempt.claim.row.limits
            if limited or (release is None and not attempt.ended) or PARENT in attempt.state.labels:
                self._next_due = 0  # a limit kept other runs back, a commit said when this run is due again, or a parent waited for it
            self._firing.ended(attempt.state, attempt.ended)
            if attempt.ended == Status.FAILED:
                run_log.failed(attempt)
            self._notifier.run_changed(attempt.state.id)
            self._wake.set()

    async def _look_ahead(self) -> None:
        wanted = flows_with_free_slots(self._flows, self._lent.users(self._held))
        ahead = await self._committer.call(self._store.next_due, wanted, self._clock.now())
        self._looked, self._trusted_s = self._clock.monotonic(), ahead.trusted_s
        if ahead.owned.keys() - {self._owner}:
            self._heartbeat.hurry()
        self._quarantine.due = ahead.suspects
        self._next_due = min(self._next_due, self._firing.first(ahead))

    async def _look_for_idle(self) -> bool:
        """Whether nothing is due and no owner that may be dead holds a run; asks the store."""
        now = self._clock.now()
        ahead = await self._committer.call(self._store.next_due, definitions(self._flows), now)
        if ahead.suspects or (first := self._firing.first(ahead)) <= now:
            self._limits.check(self._concurrency)
            self._next_due = 0
            return False
        self.idle_until = None if first >= NEVER else first
        if not (others := [owner for owner in ahead.owned if owner != self._owner]):
            return True
        if self._clock.virtual or self._looks.beats(now):
            await self._committer.call(self._heartbeat.beat)
        if self._clock.virtual or all(self._heartbeat.verdicts.get(owner) == "alive" for owner in others):
            return True
        self._next_due = min(self._next_due, self._looks.next(now))
        return False

    async def _sleep(self) -> None:
        """Sleep until something changes here, or the next due time."""
        timeout = MAX_SLEEP_S
        if self._free():
            floor = 0.05 if self._quarantine.due or self._claim_was_empty else 0.001  # a suspect waits for others
            timeout = min(timeout, max(floor, (self._next_due - self._clock.now()) / SECOND))
        alarm = None if self._clock.virtual else self._loop.call_later(timeout, self._on_alarm)
        try:
            await self._wake.wait()
        finally:
            if alarm is not None:
                alarm.cancel()

    def _on_alarm(self) -> None:
        self.schedule_at(0 if self._clock.monotonic() - self._looked >= self._trusted_s else NEVER)
