"""StepAttempt: advances a run of a chain of steps; decides call by call and commit by commit, and makes neither itself.

`StepAttempt.effects` is a generator: it yields a `Call` of user code or a commit, receives the value or the revisions (or
the exception), and returns the `Release` that ends the claim, or None when a commit ended it already. The Executor runs it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Generator, Sequence
from typing import Any
from weakref import ref

from attrs import define, evolve, field

from stepflow.drivers.port.commit import Commit, Committed, Dequeue, Enqueue, Event, Release, StepCommitted
from stepflow.drivers.port.deltas import SMALL, UNKNOWN, ExchangeParts, parts_of, stored_form
from stepflow.drivers.port.step import Member, Step
from stepflow.engine.clock import microseconds
from stepflow.engine.execution import run_log
from stepflow.engine.execution.attempt import AttemptEffects
from stepflow.engine.execution.once_calls import ends_claim
from stepflow.engine.execution.transacted_steps import TransactedSteps
from stepflow.engine.intents import step_intent
from stepflow.engine.threads.raised import own_error
from stepflow.errors import CancelRequested, CodecError, TimedOut
from stepflow.model import outcome as outcomes
from stepflow.model.current import Current, enter
from stepflow.model.durations import duration_text
from stepflow.model.flow import Call, Move, Task
from stepflow.model.json_schema import schemas_text
from stepflow.model.state import ATTEMPT, DEADLINE, ERROR, PASSES, PAYLOADS, UNFINISHED, WAITING, Transition, waiting


@define(eq=False)
class StepAttempt(TransactedSteps):
    """A claim on a run whose flow is a chain of tasks."""

    takes_deltas: bool = field(kw_only=True, default=True)  # of the store
    text: str = field(init=False)  # of the exchange as of the last commit
    _encoded: str = field(init=False, default="")  # the one that the next commit stores, if it changed
    _parts: ExchangeParts = field(init=False)  # as which `text` is stored
    _timed: bool = field(init=False)  # whether the time of each commit is noted
    _events: Sequence[Event] = field(init=False)
    _taken: Sequence[Event] = field(init=False, default=())  # events that the next commit consumes

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        record = self.record
        self.text, self._parts, self._events = record.exchange, record.parts, record.events
        state = self.state
        self.transition, self._timed = state.transition, self.flow.options.hung_after_s is not None
        self._step = Step(state.id, self.claim.fence.epoch, *state[1:5])
        self._unfinished = self.claim.row.unfinished + int(self.transition.annotations.get(UNFINISHED, "0"))
        # A weak reference, so that an attempt that has ended is freed at once: the collector of cycles costs more.
        passes = self.transition.annotations.get(PASSES, "")
        self.current = Current(self.state.id, record.created.flow, passes=passes, caller=ref(self))

    @property
    def rev(self) -> int:
        """The newest revision, which the next commit replaces; `state` is the State as claimed."""
        return self._step.rev

    @property
    def progressed(self) -> bool:
        """Whether this claim has made a commit or written a journal row: earlier crashes do not count any more."""
        return self.rev != self.record.state.rev or (self._once is not None and self._once.wrote)

    @property
    def unfinished(self) -> int:
        """How many attempts of the present step died or were interrupted before this claim; its transition has those before that."""
        return 0 if self.rev != self.record.state.rev else self.claim.row.unfinished

    def run(self) -> Awaitable[Release | None]:
        """Advance the run in the Executor."""
        return self.executor.run(self)

    def effects(self) -> AttemptEffects:
        """Advance until the run ends, sleeps, waits, or has to be released."""
        move = yield from self._opening()
        if not isinstance(move, Move):
            return move
        call = Call(self.flow.resume, ())  # one object for all calls: a call is over before the next one
        before = int(self.transition.annotations.get(ATTEMPT, "1")) - 1  # tries of the first step in earlier claims
        while move.tasks:
            (task,), current = move.tasks, self.current
            if self.cancel or self.stop:
                return (yield from self._stopped())
            current.step, current.attempt = task.step, self._unfinished + before + move.attempt
            before, note, plain = 0, "", task.plain
            if not plain:
                if task.event and not self._published(task) and not self._overdue(task):
                    return (yield from self._wait(task))
                if task.at_most_once and not self.at_most_once and (yield from self._intended(task)):
                    return None
            try:
                if plain:
                    call.fn, call.args = task.call, (self.exchange,)
                    call.is_async, call.limit_s = task.is_async, task.limit_s
                else:
                    call.fn, call.args, call.is_async, call.limit_s = self._call_of(task)
                current.running = True
                value = (yield call) if self._resolution is None else self._settle(task)
                current.running = False
                move = task.after_return(value, self.exchange) if plain or not task.transacted else value
                if move.stays and self._overdue(task):
                    raise self._late(task)
            except Exception as failure:  # noqa: BLE001 - whatever user code raises is the run's error
                self._step_raised(task, failure)
                if self._journal and (unknown := self._unknown(task, failure)):
                    return unknown
                note = outcomes.describe(failure, task.step)
                move = yield from self._recover(task, failure, note)
                if move is None:
                    return None
            except (GeneratorExit, KeyboardInterrupt):
                raise
            except BaseException as failure:  # noqa: BLE001 - SystemExit and the like end the run, not the worker
                return (yield from self._ended(failure))
            if not plain and task.transacted and not note:
                if (yield from self._ends()):
                    return None
                continue
            plan = self._planned(move, note)
            if isinstance(plan, Release):
                return plan
            try:
                self._on_done((yield plan))
            except CancelRequested:
                yield self._cancelled(plan)
                return None
            if note or self._step.part is not None:
                run_log.retried(self)
                if self._step.part is not None:
                    return None
        yield self._end("completed")
        return None

    def _stopped(self) -> Generator[Member, Any, Release | None]:
        """Before the next step: end the run that was cancelled, or release it."""
        if not self.cancel:
            return self._release(self.clock.now())
        yield self._end("cancelled")
        return None

    def _call_of(self, task: Task) -> tuple[Any, tuple[Any, ...], bool, float | None]:
        """The function of a task that is not plain, its arguments, whether it is async, and its time limit."""
        if task.transacted:
            return self._transacted, (task,), True, None
        args = (self.exchange, self._take(task)) if task.event else (self.exchange,)
        return task.call, args, task.is_async, task.limit_s

    def _opening(self) -> Generator[Member | Call, Any, Move | Release | None]:
        """The Move to the stored position; or end the run that must not go on, or release it."""
        self._journal = {row.key: row for row in self.rows}
        self._step.annotations = self.state.annotations  # with the trace, if the attempt was given one
        if not self.cancel and (unopened := self.unopened()):
            return unopened
        if self._journal and (self.timed_out or not self.cancel) and (blocked_again := self._meet_intent()):
            return blocked_again
        crashes = self.claim.row.crashes
        if crashes >= self.flow.options.max_crashes and not self.cancel:
            yield from self._made(self._end("failed", outcomes.crashed(crashes, self.state)))
            return None
        if self.cancel:
            yield self._end("cancelled")
            return None
        try:
            move = self.flow.resume(self.transition)
            self.exchange = self.flow.codec.decode(self.text)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - UnknownState, CodecError, and what classes and `upgrade` raise
            return self.blocked(error)
        if wrong := self._misplaced(move):
            return wrong
        return move

    def _step_raised(self, task: Task, failure: Exception) -> None:
        """The step has ended; raise again what ends the claim. After a time limit the call may go on, without the present step."""
        self._returned, self.current.running = not self.current.running, False
        if self._once is not None:
            self._once.used.clear()
        if ends_claim(self._once, failure):
            raise failure
        if self.interrupted:
            run_log.late(self, failure)
        if (task.limit_s is not None or task.transacted) and issubclass(type(failure), TimedOut):
            self.current = evolve(self.current)
            enter(self.current)

    def _planned(self, move: Move, note: str = "") -> Member | Release:
        """The commit that makes a move durable; for a poll that changed nothing, the Release that sets its next due time."""
        try:
            text = self.flow.codec.encode(self.exchange)
        except KeyboardInterrupt:
            raise
        except BaseException as refusal:  # noqa: BLE001 - CodecError, TooLarge, and what user classes raise
            self._taken = ()
            return self._end("cancelled", outcomes.describe(refusal)) if self.cancel else self._unstorable(refusal)
        changed = None if text == self.text else self._stored(text)
        forget: tuple[str, ...] = ()
        if self._journal:
            if (met := self._met_unknown()) is not None:
                return met
            forget = self._forgotten(move, note)
        transition = move.transition if move.passes is None else self._in_pass(move.transition, move.passes)
        if note:
            transition = transition.with_notes(error=note)
        if self._unfinished:
            transition = self._counted(transition, note)
        if self.cancel:
            return self._commit(self.final(transition, "cancelled", note), changed, Dequeue(self.state.id), forget)
        if move.immediate and not self.lost:
            return self._commit(transition, changed, None, forget)
        if not move.tasks:
            self.ended = transition.status
            return self._commit(transition, changed, Dequeue(self.state.id), forget)
        (task,) = move.tasks
        now = self.clock.now()
        due = now + microseconds(move.delay_s)
        before = self.transition.annotations
        begins = transition.annotations.get(WAITING) != before.get(WAITING)  # a wait begins here, or begins again
        if move.stays and ATTEMPT in before:
            transition = transition.with_notes(attempt=before[ATTEMPT])
        if task.timeout_s is not None:
            noted = self._deadline(task) if move.stays else None
            begins = begins or noted is None
            deadline = noted or (now if move.stays else due) + microseconds(task.timeout_s)
            due, transition = min(due, deadline), transition.with_notes(deadline=str(deadline))
        if move.stays and changed is None and not begins:
            return self._release(due, survived=True)
        part = self._later(due) if move.delay_s or move.stays or self.lost else None
        return self._commit(transition, changed, part, forget)

    def _stored(self, text: str) -> str:
        """The form in which to store an exchange that has changed."""
        self._encoded = text
        return text if len(text) < SMALL or not self.takes_deltas else stored_form(self.text, text, self._parts)

    def _commit(
        self,
        transition: Transition,
        text: str | None,
        part: Enqueue | Dequeue | None = None,
        forget: tuple[str, ...] = (),
    ) -> Member:
        if self._timed:
            self._moved_at = self.clock.monotonic()
        step = self._step
        step.transition, step.exchange, step.part = transition, text, part
        if self.at_most_once:  # the call has ended
            self.at_most_once, key = False, step_intent(self.current.step)
            self._journal.pop(key, None)
            forget = (*forget, key)
        if not self._taken and not forget:
            return step
        seqs = tuple(e.seq for e in self._taken)
        self._events = [e for e in self._events if e.seq not in seqs]
        self._taken = ()
        return step.commit()._replace(consume=seqs, forget=forget)

    def _on_done(self, done: Committed | StepCommitted) -> None:
        """The last commit is durable: the next one builds on it."""
        if self._once is not None:
            self._once.used.clear()
        step = self._step
        step.rev, self.transition = done.revs[0] if isinstance(done, Committed) else done[0], step.transition
        if (text := step.exchange) is not None:
            self.text = self._encoded
            self._parts = UNKNOWN if len(self.text) < SMALL else parts_of(step.rev, text)

    def _published(self, task: Task) -> list[Event]:
        """The events that the wait may take: once its deadline has passed, only those that were published before it."""
        found = [e for e in self._events if e.name == task.event]
        deadline = self._deadline(task)
        if not found or deadline is None or deadline > self.clock.now():
            return found
        return [e for e in found if e.published_at < deadline]

    def _take(self, task: Task) -> Any:
        """The payload of the event that the task waits for; TimedOut if it did not come in time."""
        matching = self._published(task)
        if not matching or task.payload is None:
            raise self._late(task)
        self._taken = matching if task.latch else matching[:1]
        event = self._taken[-1]
        try:
            return task.payload.decode(event.payload)
        except CodecError as error:
            raise _BadPayload(f"event {task.event!r} (id {event.id!r}): {error}") from error

    def _late(self, task: Task) -> TimedOut:
        what = f"no event {task.event!r}" if task.event else "its condition did not come true"
        return TimedOut(f"{task.step}: {what} within {duration_text(task.timeout_s or 0)}")

    def _wait(self, task: Task) -> AttemptEffects:
        """The event is not published yet: release the run until it is, or until the deadline."""
        deadline = self._deadline(task)
        if task.timeout_s is not None and deadline is None:
            deadline = self.clock.now() + microseconds(task.timeout_s)
        stored = self.transition.annotations.get(PAYLOADS, "")
        payloads = "" if task.payload is None else schemas_text({task.event: task.payload.type}, stored)
        waits = waiting(self.transition, (task.event,), deadline, payloads)
        if waits is not self.transition:  # redriven, retried, or otherwise in an older definition
            self._on_done((yield self._commit(waits, None)))
        return self._release(deadline, event=task.event)

    def _recover(self, task: Task, failure: Exception, note: str) -> Generator[Member | Call, Any, Move | None]:
        """Ask the flow's error handlers; None when the run was ended, or sent to sleep by its own retry policy."""
        if self.cancel:
            yield self._end("cancelled", note)
            return None
        taken = self._taken
        if type(failure) is not _BadPayload:
            self._taken = ()  # only success consumes an event, or a retry would wait for another one
        try:
            found = yield from task.after_error(failure, self.exchange, self._restore)
            if isinstance(found, Move):
                if found.uncounted:
                    self._taken = taken
                self.failure, self.error = failure, note
                return found
            yield from self._made(self._failed(found.error))
        except (GeneratorExit, KeyboardInterrupt):
            raise
        except BaseException as final:  # noqa: BLE001 - a handler raised SystemExit, or the exchange cannot be restored
            yield from self._ended(final)
        run_log.retried(self)
        return None

    def _restore(self) -> Any:
        """The exchange of the last commit, in place of what a failed step left."""
        self.exchange = self.flow.codec.decode(self.text)
        return self.exchange

    def _failed(self, error: BaseException) -> Member:
        policy, transition, now = self.flow.options.retry, self.transition, self.clock.now()
        self.failure, self.error = error, outcomes.describe(error, self.current.step)
        attempt = int(transition.annotations.get(ATTEMPT, "1"))
        if policy is None or not policy.allows(attempt, error):
            return self._end("failed", self.error)
        due = now + microseconds(policy.delay_s(attempt, self.state.id))
        again = outcomes.tried_again(transition, attempt + 1, self.error, self._unfinished, now)
        return self._commit(again, None, self._later(due))

    def _made(self, member: Member) -> Generator[Member, Any, None]:
        """Commit, and end the run as cancelled if that was requested meanwhile."""
        try:
            yield member
        except CancelRequested:
            yield self._cancelled(member)

    def _cancelled(self, refused: Member) -> Member:
        """In place of a commit that ends the run: the same one, but the run ends as cancelled."""
        step, self.ended = self._step, "cancelled"
        step.transition = outcomes.final(step.transition, "cancelled", step.transition.annotations.get(ERROR, ""))
        if isinstance(refused, Commit):
            return step.commit()._replace(consume=refused.consume, forget=refused.forget)
        return step

    def _ended(self, failure: BaseException) -> Generator[Member, Any, Release | None]:
        """End the run at once: as cancelled if that was requested, else as failed."""
        self.current.running = False
        if (met := self._met_unknown()) is not None:
            return met
        self.failure = own_error(failure)
        error = outcomes.describe(self.failure, self.current.step)
        if not self.cancel:
            yield from self._made(self._end("failed", error))
        else:
            cancelled = type(self.failure) is asyncio.CancelledError  # what the request raised in the step
            yield self._end("cancelled", "" if cancelled else error)
        return None

    def _end(self, status: str, error: str = "") -> Member:
        return self._commit(self.final(self.transition, status, error), None, Dequeue(self.state.id))

    def _later(self, due: int) -> Enqueue:
        return Enqueue(self.state.id, self.flow.name, due, self.claim.row.priority)

    def _deadline(self, task: Task) -> int | None:
        text = self.transition.annotations.get(DEADLINE)
        return None if text is None or task.timeout_s is None else int(text)

    def _overdue(self, task: Task) -> bool:
        deadline = self._deadline(task)
        return deadline is not None and deadline <= self.clock.now()

    def _release(self, due: int | None, event: str = "", survived: bool = False) -> Release:
        crashes, unfinished = (0, 0) if survived else (0 if self.progressed else None, self.unfinished)
        return Release(self.claim.fence, due, (event,) if event else (), crashes=crashes, unfinished=unfinished)


class _BadPayload(CodecError):
    """A published payload that does not fit the wait's type. The failed try consumes it, or every later try would fail."""

    __qualname__ = "CodecError"  # the name that callers see
