"""Attempt: what the worker knows of a claim that is being advanced, in every authoring style."""

from __future__ import annotations

import asyncio
import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Generator, Sequence
from typing import Any, Protocol

from attrs import define, field

from stepflow.drivers.port.commit import Claim, Dequeue, Fence, Record, Release
from stepflow.drivers.port.journal import JournalRow
from stepflow.drivers.port.step import Member, Step
from stepflow.engine.clock import SECOND, Clock
from stepflow.engine.commit.committer import Committer
from stepflow.engine.intents import intents, is_resolved
from stepflow.engine.threads.deferred_signals import Interruption
from stepflow.errors import Full, PauseRequested, StepflowError, Unavailable
from stepflow.model import outcome as outcomes
from stepflow.model.blocked import stored, unreadable, unreadable_run
from stepflow.model.codec import SEALED, UNOPENED, Unopened
from stepflow.model.current import Current
from stepflow.model.error_text import kind_of, message_of
from stepflow.model.flow import Call, Flow
from stepflow.model.run_timeout import RunEnd
from stepflow.model.state import ERROR, POSITION, RESOLVED, TIMED_OUT, State, Transition

AttemptEffects = Generator[Member | Call, Any, Release | None]
BLOCKED_RETRY = 30 * SECOND  # a blocked run is offered to other workers again after this time
NO_DEFINITION = (
    "payload"  # blocked a run whose values cannot be opened: a worker of the same definition may have the key
)
LOG_EVERY = 30  # refusals of a commit
log = logging.getLogger("stepflow")


class WorkerCancels(Protocol):
    """Tells of the requests to cancel the task that claims."""

    def cancelling(self) -> int:
        """How many there are, without those that came from steps."""


@define(eq=False)
class Attempt(ABC):
    """The state of one claim. The worker sets `stop` (release the claim) and `cancel`; the attempt sees them between two steps."""

    flow: Flow[Any, Any]
    claim: Claim
    record: Record
    clock: Clock
    stop: bool = False
    cancel: bool = False
    paused: bool = False  # the run was paused while calls go on side by side: they end, and no other one begins
    lost: bool = False  # a sync call went on after its time limit: the claim ends with the commit of its TimedOut
    awaits: bool = False  # async user code runs, which a cancel shall reach
    at_most_once: bool = False  # the present call must not be interrupted by a cancel
    task: asyncio.Task[None] | None = None  # the one that runs this attempt
    step_cancels: WorkerCancels | None = None  # if the task that claims is cancelled, its attempts end, too
    cancelled_all: bool = False  # its code cancelled that task, and all others of the loop
    retry_commits: bool = False  # a commit that the store refuses for now is tried again and again
    refusals: int = 0  # of commits that are tried again
    handed_over: bool = False  # a host elsewhere goes on with the State, and commits by itself
    hung: bool = False  # it made no commit for too long: its claim is being released
    ended: str = ""  # the final status, once it is being committed
    failure: BaseException | None = None  # what user code raised last, until it is logged
    error: str = ""  # the stored form of the error that the last commit records
    rows: Sequence[JournalRow] = ()  # of the journal of the run
    run_end: RunEnd | None = None  # when the run ends at the latest
    timed_out: bool = False  # that is why it is to end, and no cancel
    state: State = field(init=False)
    _moved_at: float = field(init=False)
    _interrupted: bool = field(init=False, default=False)
    _kept_calls: int = field(init=False, default=0)  # calls of the present step that no cancel interrupts

    def __attrs_post_init__(self) -> None:
        self.state = state = self.record.state
        if state.transition.problem:
            raise unreadable_run(state.id, state.transition.problem)
        self.cancel = self.cancel or self.claim.row.cancel
        self._moved_at = self.clock.monotonic()

    @abstractmethod
    def run(self) -> Awaitable[Release | None]:
        """Advance the run; the Release that ends the claim, None when a commit ended it."""

    @property
    def fence(self) -> Fence:
        """The claim that a release must name."""
        return self.claim.fence

    @property
    def moved_at(self) -> float:
        """The monotonic time of the last commit, at first that of the claim."""
        return self._moved_at

    @property
    def progressed(self) -> bool:
        """Whether this claim has made a commit: earlier crashes do not count any more."""
        return self.state.rev != self.record.state.rev

    @property
    def unfinished(self) -> int:
        """How many attempts of the present step died or were interrupted before this claim."""
        return 0 if self.progressed else self.claim.row.unfinished

    @property
    def step(self) -> str:
        """Where the run is, for the log: its step, or the flow function that it goes to."""
        transition = self.state.transition
        return " ".join(json.loads(transition.annotations.get(POSITION, "[]"))) or transition.to

    @property
    def number(self) -> int:
        """Which attempt of the step this is, from 1, for the log."""
        return 1

    def request_cancel(self) -> None:
        """Let the run end as cancelled: an async call is cancelled now, a sync one and a commit come to their end."""
        if not self.cancel:
            self.cancel = True
            self._cancel_call()

    def hold_cancels(self, change: int) -> None:
        """A call within a step that no cancel interrupts begins (1), or has ended (-1): a cancel that came meanwhile, or the end of the run, reaches the step then."""
        self._kept_calls += change
        if self.cancel:
            self._cancel_call()
            if self.timed_out and self.task is not None:
                self.task.get_loop().call_soon_threadsafe(self._give_up_call)

    def _cancel_call(self) -> None:
        if self.awaits and self.task is not None and not (self.at_most_once or self._kept_calls):
            self.task.cancel()

    def limit_run(self, end: RunEnd) -> bool:
        """The run ends at that time at the latest; whether that is still to come. If it has passed, the attempt ends the run, unless the outcome of a call is unknown."""
        notes, self.run_end = self.state.transition.annotations, end
        if self.cancel:
            self.timed_out = TIMED_OUT in notes
            return False
        if any(not is_resolved(row, self.state) for row in intents(self.state, self.rows)):
            return False
        self.timed_out = self.clock.now() >= end.at
        self.cancel = self.timed_out and RESOLVED not in notes  # else `settled` lets it end
        return not self.timed_out

    def settled(self) -> None:
        """The outcome of a call is known that was not: a run whose time limit is over ends now."""
        self.cancel = self.cancel or self.timed_out

    def end_in_time(self) -> None:
        """The time limit of the run is over: an async call is cancelled, a sync one goes on without its claim; one that is made at most once comes to its end."""
        if not (self.cancel or self.paused):
            self.timed_out = True
            self.request_cancel()
            self._give_up_call()

    def _give_up_call(self) -> None:
        """Let a sync call of a run whose time limit is over go on without its claim."""
        if not (self.awaits or self.at_most_once or self._kept_calls):
            self.interrupt()

    def final(self, transition: Transition, status: str, error: str, *, heard: bool = False) -> Transition:
        """The final transition; a run that is to end since its time limit is over fails, instead of being cancelled; `heard` by a workflow."""
        final = outcomes.final(transition, status, error)
        if status == "cancelled" and self.timed_out and self.run_end is not None:
            final = outcomes.timed_out(transition, self.run_end, error, heard=heard)
            status, error = "failed", final.annotations[ERROR]
        self.ended, self.error = status, error
        return final

    def interrupt(self) -> None:
        """End the attempt in its present call."""
        self._interrupted = self.stop = True
        if self.task is not None:
            self.task.cancel()

    @property
    def interrupted(self) -> bool:
        """Whether the worker ends this attempt. Else a CancelledError is the user code's own: it cancelled its task itself."""
        return self._interrupted or (self.step_cancels is not None and self.step_cancels.cancelling() > 0)

    def release(self, cause: BaseException | None = None) -> Release:
        """Releases the claim although a step has begun; a crash is counted if it hung or cancelled all tasks, or if neither the worker, a signal nor a pause ended it."""
        unasked = (
            self.hung
            or self.cancelled_all
            or not (self.stop or self.interrupted or isinstance(cause, Interruption | PauseRequested))
        )
        crashes = 0 if self.progressed else self.claim.row.crashes + int(unasked)
        return Release(self.fence, self.clock.now(), crashes=crashes, unfinished=self.unfinished + 1)

    def blocked_by(self, error: BaseException) -> Release:
        """Releases a run that this worker cannot advance, for a reason that no attempt foresees; the error is logged with that."""
        self.failure = error
        why, due = f"{kind_of(error)}: {message_of(error)}", self.clock.now() + BLOCKED_RETRY
        return self.release()._replace(due=due, crashes=None, blocked=why, blocked_by=self.flow.definition)

    def should_retry_commit(self, refusal: object) -> bool:
        """Whether to try a commit again: nothing was written, the claim may still be ours, and the step's work is done."""
        if not self.retry_commits or not isinstance(refusal, (Unavailable, Full)):
            return False
        if self.refusals % LOG_EVERY == 0:
            log.error("run %s: the store refused a commit, trying again: %s", self.state.id, refusal)
        self.refusals += 1
        self._moved_at = self.clock.monotonic()  # the store hangs, not the step
        return True


@define(eq=False)
class SteppedAttempt(Attempt):
    """An attempt that calls steps, and makes what they did durable one after the other."""

    current: Current = field(init=False)
    overdue: Exception | None = field(
        init=False, default=None
    )  # the failure of the last call that reached its time limit

    @property
    def step(self) -> str:
        """The present step; before the first one the position as stored."""
        return self.current.step or Attempt.step.fget(self)  # type: ignore[attr-defined]

    @property
    def place(self) -> str:
        """The beginning of the keys of the rows that the present step writes."""
        return self.current.step

    @property
    def number(self) -> int:
        """What `current().attempt` is in the step."""
        return self.current.attempt

    def blocked(self, error: BaseException) -> Release:
        """Releases a run that this definition cannot advance."""
        due, text = self.clock.now() + BLOCKED_RETRY, message_of(error)
        if not isinstance(error, StepflowError):
            text = f"{kind_of(error)}: {text}"
        by = NO_DEFINITION if isinstance(error, Unopened) else self.flow.definition
        text = stored(error, text)
        return Release(self.fence, due, blocked=text, blocked_by=by, unfinished=self.unfinished)

    def unopened(self) -> Release | None:
        """Releases a run of which this engine cannot open what is stored: it lacks a payload stage, or its key."""
        if self.record.exchange[:1] == SEALED or any(row.text[:1] == SEALED for row in self.rows):
            self.failure = Unopened(UNOPENED)
            return self.blocked(self.failure)
        return None

    def note_progress(self) -> None:
        """Something was made durable: a flow with `hung_after` need not wait for its next commit."""
        self._moved_at = self.clock.monotonic()


@define(eq=False)
class GeneratorAttempt(SteppedAttempt):
    """An attempt that decides in a generator; the Executor makes the calls and commits that the generator yields."""

    @abstractmethod
    def effects(self) -> AttemptEffects:
        """Yields a Call or a commit, receives its result or error, and returns what `run` returns."""


@define(eq=False)
class UnreadableAttempt(Attempt):
    """A claim on a run of which something cannot be read, as `failure` says: nothing of it is changed, but for a cancel that was requested."""

    committer: Committer = field(kw_only=True)

    def __attrs_post_init__(self) -> None:
        self.state, self._moved_at = self.record.state, self.clock.monotonic()
        self.cancel = self.cancel or self.claim.row.cancel

    def limit_run(self, end: RunEnd) -> bool:  # noqa: ARG002
        """A run that cannot be read stays as it is."""
        return False

    @property
    def step(self) -> str:
        """Unknown."""
        return self.state.transition.to

    async def run(self) -> Release | None:
        """Release it as blocked."""
        assert self.failure is not None
        state = self.state
        if self.cancel:
            self.ended, over = "cancelled", Dequeue(state.id)
            end = outcomes.final(state.transition, "cancelled", "")
            await self.committer.submit(
                Step(state.id, self.fence.epoch, state.rev, end, state.labels, state.annotations, None, over)
            )
            return None
        return unreadable_claim(self.claim, self.failure, self.clock.now())


def unreadable_claim(claim: Claim, error: BaseException, now: int) -> Release:
    """Releases a run that cannot be read."""
    text = message_of(error) if isinstance(error, StepflowError) else f"{kind_of(error)}: {message_of(error)}"
    return Release(claim.fence, now + BLOCKED_RETRY, blocked=unreadable(text), blocked_by=NO_DEFINITION)


def is_closed(task: asyncio.Task[Any] | None) -> bool:
    """Whether code of this task runs although the task does not: the coroutine of a task that was left behind is being closed."""
    try:
        return asyncio.current_task() is not task
    except RuntimeError:  # no event loop runs
        return True
