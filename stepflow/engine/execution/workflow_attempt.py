"""WorkflowAttempt: advances a run of a workflow by one call of its function, and commits how that call ended.

The function runs on the event loop if it is async, else in a thread of the pool. It returns, raises, or is ended by
Suspended, which a call raises that cannot go on now.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from attrs import define, evolve

from stepflow.drivers.port.commit import Dequeue, Enqueue, Release
from stepflow.drivers.port.journal import JournalRow
from stepflow.drivers.port.step import Member, Step
from stepflow.engine import step_failure
from stepflow.engine.clock import microseconds
from stepflow.engine.execution import at_most_once, run_log
from stepflow.engine.execution.attempt import is_closed
from stepflow.engine.execution.child_calls import journal_row
from stepflow.engine.execution.workflow_threads import WorkflowThreads
from stepflow.engine.intents import resolution_of
from stepflow.engine.threads.futures import end_of_own_cancels
from stepflow.engine.threads.raised import own_error
from stepflow.errors import CancelRequested, CodecError
from stepflow.model import outcome as outcomes
from stepflow.model.current import enter
from stepflow.model.error_text import is_a, traceback_of
from stepflow.model.json_schema import schemas_text
from stepflow.model.state import (
    ATTEMPT,
    CANCEL,
    CHILDREN,
    ERROR,
    FAILED_CALL,
    NEXT_ATTEMPT,
    POSITION,
    RENEWED,
    RESOLVED,
    REWOUND,
    STYLE,
    TIMED_OUT,
    TOLD,
    TOPICS,
    UNWANTED,
    WAITING,
    WOKEN,
    Transition,
    wait_notes,
    without_wait,
)
from stepflow.replay.async_context import AsyncContext
from stepflow.replay.effects import Suspension
from stepflow.replay.ending import wrong_end, wrong_failure, wrong_return
from stepflow.replay.journal import CANCELLED, Journal, cancelled_in_last, optional_after
from stepflow.replay.results import UnknownOutcome


@define(eq=False)
class WorkflowAttempt(WorkflowThreads):
    """A claim on a run whose flow is a workflow."""

    async def run(self) -> Release | None:
        """Call the function, and commit how that ended; the Release that ends the claim, None when a commit ended it."""
        row = self.claim.row
        if (
            UNWANTED in self.transition.annotations
        ):  # the process that rewound the run may have died before it cancelled them
            await self.children.canceller.cancel_open(json.loads(self.transition.annotations[UNWANTED]))
        if row.crashes >= self.flow.options.max_crashes and not self.cancel:
            return await self._end("failed", outcomes.crashed(row.crashes, self.state))
        if self.cancel and not self.rows and RENEWED not in self.transition.annotations:
            return await self._end("cancelled")
        if (unopened := self.unopened()) is not None:
            return unopened
        enter(self.current)
        if FAILED_CALL in self.transition.annotations:
            await self._try_again(self.transition.annotations[FAILED_CALL])
        self._open_journal()
        try:
            value = self.flow.codec.decode(self.record.exchange)
        except Exception as error:  # noqa: BLE001 - CodecError, and what user classes raise
            return self._blocked(error)
        return await self._call(value)

    def _open_journal(self) -> None:
        journal = Journal.of(self.flow.name, self.state.id, self, self.rows, self.record.events)
        self.journal, notes = journal, self.transition.annotations
        journal.unfinished, journal.codec = self.unfinished, self.flow.codec
        journal.started = self.record.created.created_at
        if TOPICS in notes:
            journal.topics = json.loads(notes[TOPICS])
        if rewound := notes.get(REWOUND):
            journal.parent = f"{self.state.id}/~{rewound}"  # the children from before have the ids without it
        journal.woken = int(notes.get(WOKEN, "0"))
        if RESOLVED in notes:
            journal.resolution = resolution_of(self.transition)

    async def _call(self, value: Any) -> Release | None:
        """Call the function with the input, and commit how that ended."""
        raised: BaseException | None = None
        output: Any = None
        try:
            if self.workflow.is_async:
                self.home = asyncio.current_task()
                output = await self.workflow.call(AsyncContext(self.journal, self.perform), value)
            else:
                output = await self.executor.call(self.call_sync, value)
        except BaseException as error:
            if is_closed(self.task) or self.interrupted:
                raise
            await end_of_own_cancels(self.task)
            raised = own_error(error)
        try:
            return await self._settle(output, raised)
        finally:
            del self.journal  # it refers to this attempt, which is freed at once without the collector of cycles

    async def _settle(self, output: Any, raised: BaseException | None) -> Release | None:
        """What follows from the end of the function."""
        journal, suspension = self.journal, self.journal.suspension
        if self.refused is not None:
            raise self.refused
        if is_a(raised, KeyboardInterrupt):
            raise raised
        if (wrong := wrong_end(journal, raised, asyncio.CancelledError)) is not None:
            return self._blocked(wrong)
        if self.cancel and (unmade := journal.unheard(raised)) is not None:
            again = await self._cancelled_in_last(unmade)
            if again is not None:
                return again
        if journal.renewed is not None:
            return await self._renew(journal.renewed)
        if suspension is not None and not journal.over:
            return await self._suspend(suspension)
        if self.cancel:
            shown = raised if is_a(raised, Exception) else None
            return await self._end("cancelled", "" if shown is None else outcomes.describe(shown))
        if raised is not None:
            return await self._failed(raised)
        if (wrong := wrong_return(journal)) is not None:
            return self._blocked(wrong)
        try:
            text = self._result_text(output)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - CodecError, TooLarge, and what user classes raise
            return await self._failed(error)
        return await self._end("completed", text=None if text == self.record.exchange else text)

    def _result_text(self, output: Any) -> str:
        """The stored form of what the function returned."""
        try:
            return self.flow.result_codec.encode(output)
        except CodecError as error:
            raise CodecError(f"what workflow {self.flow.name!r} returned: {error}") from error

    async def _failed(self, error: BaseException) -> Release | None:
        """Let the run's own policy call the function again later, or fail the run."""
        trace = traceback_of(error)
        key = step_failure.origin(error, self.journal.failures)
        text = step_failure.described(error, trace, key)
        policy, attempt = self.flow.options.retry, int(self.transition.annotations.get(ATTEMPT, "1"))
        notes = self._kept(POSITION)
        if key:
            notes |= {FAILED_CALL: key, POSITION: _position(f"step:{key}")}
            self.failed_step = key
        self.transition = Transition(self.flow.name, notes)
        self.failure, self.error = error, text
        again = policy is not None and is_a(error, Exception) and policy.allows(attempt, error)
        if (key or not again) and (wrong := wrong_failure(self.journal, error)) is not None:
            return self._blocked(wrong)
        if policy is None or not again:
            return await self._end("failed", text)
        due = self.clock.now() + microseconds(policy.delay_s(attempt, self.state.id))
        notes |= {ATTEMPT: str(attempt + 1), ERROR: text, WAITING: "delay"}
        await self.commit(self.moved(Transition(self.flow.name, notes))._replace(queue=(self._later(due),)))
        run_log.retried(self)
        return None

    async def _renew(self, text: str) -> Release | None:
        """Let the run begin anew with this input."""
        times = int(self.transition.annotations.get(RENEWED, "0")) + 1
        notes = self._kept(ATTEMPT) | {RENEWED: str(times)} | ({CHILDREN: "1"} if self.may_have_children else {})
        if taken := self.journal.last_taken():
            notes[TOPICS] = json.dumps(taken, ensure_ascii=False)
        commit = self.moved(Transition(self.flow.name, notes))
        (write,) = commit.writes
        writes = (write._replace(exchange=text),)
        await self.commit(commit._replace(writes=writes, queue=(self._later(self.clock.now()),), forget=("",)))
        return None

    async def _try_again(self, key: str) -> None:
        """Forget the failure that ended the run. What was recorded after it, e.g. in a `finally`, may come again, but need not."""
        again = optional_after(self.rows, key)
        kept = {k: v for k, v in without_wait(self.transition.annotations).items() if k != FAILED_CALL}
        changed = {row.key: row for row in again}
        self.rows = [changed.get(row.key, row) for row in self.rows if row.key != key]
        forget, rows = _forgotten(key, tuple(self.rows), again)
        commit = self.moved(Transition(self.flow.name, kept))._replace(forget=forget, journal=rows)
        self.committed(await self.commit(commit))

    async def _suspend(self, found: Suspension) -> Release | None:
        """Commit where the attempt ended, and let the run sleep or wait."""
        progress = 0 if self.progressed else None
        if not found.at:
            if self.paused:
                run_log.paused(self)
            return Release(self.fence, self.clock.now(), crashes=progress, unfinished=self.unfinished)
        if self.journal.cancelled:  # what undoes neither sleeps nor waits for longer than it has time
            ends = self.undo_ends() + 1
            found = evolve(found, due=ends if found.due is None else min(found.due, ends))
        transition = self._suspended(found)
        changed = bool(found.rows) or transition.text != self.transition.text
        released = Release(self.fence, found.due, found.events, crashes=progress, unfinished=self.unfinished)
        if not changed:
            return released
        commit = self.moved(transition)._replace(journal=tuple(map(journal_row, found.rows)))
        if self.cancel and CANCEL not in self.transition.annotations:  # this takes the mark of the queue row away
            await self.commit(commit._replace(queue=(self._later(self.clock.now()),)))
            return None
        if found.events and found.due is not None:
            await self.commit(commit)
            return released
        part = Dequeue(self.state.id) if found.due is None else self._later(found.due)
        await self.commit(commit._replace(queue=(part,)))
        if found.error:
            self.failed_step = found.at.partition(":")[2]
            run_log.retried(self)
        return None

    def _kept(self, *names: str) -> dict[str, str]:
        """The annotations that stay with the run wherever it goes, and those of these names."""
        notes = self.transition.annotations
        kept = {
            name: notes[name] for name in (STYLE, CANCEL, CHILDREN, RENEWED, REWOUND, TOPICS, *names) if name in notes
        }
        if self.cancel:
            kept.setdefault(CANCEL, str(self._cancelled_at or self.clock.now()))
        if self.timed_out:
            kept[TIMED_OUT] = "1"
        return kept

    def _suspended(self, found: Suspension) -> Transition:
        notes = self._kept(ATTEMPT)
        notes[POSITION] = _position(found.at, *found.also)
        payloads = schemas_text({name: codec.type for name, codec in found.payloads.items()})
        notes |= wait_notes(found.events, found.due, payloads)
        if found.error:
            raw = json.loads(found.error)
            told = {name: raw[name] for name in ("type", "message", "traceback")}
            notes[ERROR] = json.dumps(told | {"step": found.at.partition(":")[2]})
            notes[NEXT_ATTEMPT] = str(found.attempt)
        return Transition(self.flow.name, notes)

    async def _end(self, status: str, error: str = "", text: str | None = None) -> Release | None:
        before, state, epoch = self.transition, self.state, self.claim.fence.epoch
        if status == "completed":
            self.ended, self.error, final = status, error, outcomes.completed(before)
        else:
            final = self.final(before, status, error, heard=bool(self.rows) or CANCEL in before.annotations)
            status, error = self.ended, self.error
        if self.may_have_children:
            await self.children.canceller.cancel_children(state.id, failed=status == "failed")
        if status == "failed" and self.may_have_children:  # a redrive looks for those that were cancelled
            final = final.with_notes(children=TOLD)
        if status == "failed" and (key := before.annotations.get(FAILED_CALL)):
            final = final.with_notes(failed_call=key)
        step = Step(state.id, epoch, self.rev, final, self.labels, state.annotations, text, Dequeue(state.id))
        try:
            await self.commit(step)
        except CancelRequested:
            self.cancel = True
            if status == "completed" and (again := await self._cancelled_in_last()) is not None:
                return again
            return await self._end("cancelled", error)
        return None

    async def _cancelled_in_last(self, unmade: str = "") -> Release | None:
        """Of a function that ended without a call in which it could hear of a cancel: call it again, and let its last call raise Cancelled.

        So it is if the call that raised it did nothing, `unmade`, and none came after that: it may be one of a `finally`, which undoes what
        was done. None if no call was made before.
        """
        rows = await self.committer.call(self.children.recorded, self.state.id)
        made = [row for row in rows if row.key != unmade or row.kind != CANCELLED]
        if (last := cancelled_in_last(made)) is None:
            return None
        mark, again = last._replace(seq=0, epoch=0, at=0), len(made) < len(rows)
        commit: Member = self._append((mark,))
        notes = self.transition.annotations
        if again or (self.may_have_children and CHILDREN not in notes):  # the row may be the one that tells of children
            noted = Transition(self.flow.name, {**notes, **({CHILDREN: "1"} if self.may_have_children else {})})
            kept = tuple(mark if row.key == mark.key else row for row in made)
            forget, written = _forgotten(unmade, kept, (mark,)) if again else ((), (mark,))
            commit = self.moved(noted)._replace(forget=forget, journal=written)
        self.committed(await self.commit(commit))
        return self._called_again()

    def _called_again(self) -> Release:
        self.ended, self.error = "", ""
        return Release(self.fence, self.clock.now(), crashes=0, unfinished=0)

    def _blocked(self, error: BaseException) -> Release:
        self.failure = error
        if is_a(error, UnknownOutcome):
            return at_most_once.block(self.fence, error.key, self.unfinished, error.why)
        return self.blocked(error)

    def _later(self, due: int) -> Enqueue:
        return Enqueue(self.state.id, self.flow.name, due, self.claim.row.priority)


def _forgotten(
    key: str, kept: tuple[JournalRow, ...], changed: tuple[JournalRow, ...]
) -> tuple[tuple[str, ...], tuple[JournalRow, ...]]:
    """What a commit forgets and writes so that the row of one call goes, and these rows are kept, of which some are changed."""
    if key[-1] == ":":  # the store would forget all rows whose keys begin so
        return ("",), kept
    return (key,), changed


def _position(*at: str) -> str:
    return json.dumps(at, ensure_ascii=False)
