# Generated from stepflow/engine/client/run.py by `make generate`: do not edit.
# ruff: noqa: A002 - the names of parameters are those of the async face
"""Run: the blocking face of AsyncRun."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, TypeVar

from stepflow.engine.blocking.base import RunBase
from stepflow.engine.client.filters import Page
from stepflow.engine.client.info import HistoryEntry, RunInfo
from stepflow.engine.client.timeline import TimelineEntry
from stepflow.model.flow import Flow
from stepflow.model.lifecycle import Status
from stepflow.replay.dry_run import Recording

E = TypeVar("E")


class Run(RunBase[E]):
    """A run of a flow with exchange type `E`; every method raises NotFound if there is no such run."""

    def result(self, timeout: timedelta | float | None = None) -> E:
        """Wait until the run has ended, at most `timeout` (seconds or timedelta); the exchange with which it completed.

        Raises RunFailed with the run's error, RunCancelled, or ResultTimeout (the run goes on).
        """
        return self._call(self._run.result(timeout))

    def status(self) -> Status:
        """What the run is doing now."""
        return self._call(self._run.status())

    def info(self, *, tx: Any = None) -> RunInfo:
        """Everything that is known of the run, except its exchange and its history.

        With `tx`, the caller's open transaction on the same store, as that will leave it: with what it has posted. A run that it
        started has revision 0.
        """
        return self._call_tx(tx, self._run.info(tx=tx))

    def exchange(self) -> E:
        """The exchange as of the last commit; of a workflow its input, and once it has completed its result."""
        return self._call(self._run.exchange())

    def unfit_events(self) -> list[str]:
        """Why the waits of the flow cannot take events that are stored for the run, one text for each; needs `get(flow, id)`."""
        return self._call(self._run.unfit_events())

    def check_event(self, name: str, payload: Any) -> Flow[Any, Any] | None:
        """Raises CodecError for an event that the wait of the run cannot take, as far as its flow, or what a workflow stored, tells; its flow, if that is known."""
        return self._call(self._run.check_event(name, payload))

    def recording(self) -> Recording:
        """What is stored of a run of a workflow: its input, its journal and its unread events."""
        return self._call(self._run.recording())

    def history(self, limit: int = 1000, *, before: int | None = None) -> list[HistoryEntry]:
        """The newest `limit` revisions, or those before revision `before`, oldest first.

        They are fewer if their exchanges have more than 64 million characters: ask again with `before` the first one's `rev`.
        """
        return self._call(self._run.history(limit, before=before))

    def timeline(self, limit: int = 100, *, cursor: str | None = None) -> Page[TimelineEntry]:
        """The newest `limit` records, or those behind the `next` of the page before: revisions and calls of the journal, newest first.

        Each tells when it was recorded, and how long after the one before it. It reads no exchange, and no more of a long journal than it shows.
        """
        return self._call(self._run.timeline(limit, cursor=cursor))

    def explain(self, *, store: str | None = None) -> str:
        """Why the run does not move, since when, when it will, and the command that moves it: with the URL of this engine's store, or `store`."""
        return self._call(self._run.explain(store=store))

    def publish(self, name: str, payload: Any = None, *, id: str | None = None, tx: Any = None) -> None:
        """Give the run an event; it is kept until one wait of that name takes it.

        The same `name` and `id` twice is stored once; without an `id` every call is a new event. With `tx`, the caller's open
        transaction on the same store, it happens when that transaction commits. Raises RunEnded if the run was completed or
        cancelled. A handle that knows its flow (from `start`, or `get(flow, id)`) logs a warning if the flow does not wait for an event of
        this name, or for another type of payload.
        """
        self._call_tx(tx, self._run.publish(name, payload, id=id, tx=tx))

    def cancel(self, *, tx: Any = None) -> None:
        """End the run as cancelled. If a worker holds it, its step gets CancelledError at once, or, in a thread, comes to its end.

        When this returns, the run cannot complete or fail any more; until its holder has ended it, `info().cancel_requested` is
        true. A cancelled run stays as it is; RunEnded for one that completed or failed. With `tx`, the caller's open transaction on
        the same store, it happens when that transaction commits.
        """
        self._call_tx(tx, self._run.cancel(tx=tx))

    def fork(
        self, *, rev: int | None = None, step: str | None = None, id: str | None = None, input: Any = ...
    ) -> Run[E]:
        """Start a new run where this one was: at revision `rev`, or before `step` (its name, path or position; of a workflow the key of a call).

        It gets the exchange, the labels, and of a workflow the journal of that moment, with the random values and times that were used (a
        warning names them). Children that have ended are its children, too; those that are open are started anew. It gets no events and no
        data. `input` replaces the exchange, for a handle that knows its flow. Raises NotFound for a revision that is not there any more, or a
        step that was not made, StepflowError for a name that several steps have, RunExists for an id that is taken.
        """
        return self._blocking_run(self._call(self._run.fork(rev=rev, step=step, id=id, input=input)))

    def rewind(self, *, rev: int | None = None, step: str | None = None) -> None:
        """Let the run go back to revision `rev`, or to the moment before `step`, and go on from there, in a new revision.

        No worker may hold it: `pause` it first. Later rows of the journal are deleted, children that were started later are cancelled.
        Events that were consumed do not come again, what was published is not taken back. Also for a run that has ended. Raises as `fork`.
        """
        self._call(self._run.rewind(rev=rev, step=step))

    def pause(self) -> None:
        """Hold the run back, over all workers, until `resume`: its status is `paused`.

        A worker that holds it releases it when its present step, or call, is stored. Due times and time limits go on, and take effect
        at the resume. Events are stored: those that were published within a wait's time limit count. `cancel` works at once, `result`
        waits. A paused run stays so; RunEnded for one that has ended.
        """
        self._call(self._run.pause())

    def resume(self) -> None:
        """Let a paused run go on; one that is not paused stays as it is. RunEnded for one that has ended."""
        self._call(self._run.resume())

    def resolve(self, step: str, value: Any = None) -> None:
        """Say that an `at_most_once` call whose outcome is unknown took place: the run continues after it.

        `step` is the key of a call of a workflow or of `once`, or the name of a chain's step, its path or position. `value` is what the call
        returned; for a step of a chain it is the exchange after it, None: as it was before. Raises NotFound for another one, StepflowError for
        a run that has no such call.
        """
        self._call(self._run.resolve(step, value))

    def resolve_failed(self, step: str, error: Exception | str) -> None:
        """Say that an `at_most_once` call whose outcome is unknown failed with this error, or did not take place; see `resolve`.

        What would follow if the step had raised it follows: retry groups are asked, a workflow sees the exception; a call of `once` raises it.
        """
        self._call(self._run.resolve_failed(step, error))

    def redrive(self) -> None:
        """Let a failed run go on at the step that failed, a blocked one be tried again, a waiting one be looked at, at once.

        Children that were cancelled when a workflow failed begin anew.
        """
        self._call(self._run.redrive())

    def wake(self) -> None:
        """Let the run be looked at now: one that sleeps or polls does not wait for its time, a blocked one is tried again.

        Raises StepflowError for a run that has ended, that waits for an event, or whose call has an unknown outcome.
        """
        self._call(self._run.wake())
