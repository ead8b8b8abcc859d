"""Run: the blocking handle on one run."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Generic, TypeVar

from stepflow.engine.client.info import HistoryEntry, RunInfo
from stepflow.engine.client.run import AsyncRun
from stepflow.engine.loop_thread import LoopThread
from stepflow.model.lifecycle import Status

E = TypeVar("E")


class Run(Generic[E]):
    """A handle on a run of a flow with exchange type `E`; see AsyncRun, whose methods it has without `await`."""

    def __init__(self, portal: LoopThread, run: AsyncRun[E]) -> None:
        self.id = run.id
        self._loop_thread, self._run = portal, run

    def __repr__(self) -> str:
        return f"Run({self.id!r})"

    def result(self, timeout: timedelta | float | None = None) -> E:
        """Wait until the run has ended, at most `timeout` (seconds or timedelta); the exchange with which it completed.

        Raises RunFailed with the run's error, RunCancelled, or ResultTimeout (the run goes on).
        """
        return self._loop_thread.call(self._run.result(timeout))

    def status(self) -> Status:
        """What the run is doing now."""
        return self._loop_thread.call(self._run.status())

    def info(self) -> RunInfo:
        """Everything that is known of the run, except its exchange and its history."""
        return self._loop_thread.call(self._run.info())

    def exchange(self) -> E:
        """The exchange as of the last commit."""
        return self._loop_thread.call(self._run.exchange())

    def history(self, limit: int = 1000) -> list[HistoryEntry]:
        """The newest `limit` revisions, oldest first."""
        return self._loop_thread.call(self._run.history(limit))

    def explain(self) -> str:
        """Why the run does not move, since when, when it will, and the command that would move it."""
        return self._loop_thread.call(self._run.explain())

    def publish(self, name: str, payload: Any = None, *, id: str | None = None, tx: Any = None) -> None:  # noqa: A002
        """Give the run an event; it is kept until one wait of that name takes it. The same `id` twice is stored once."""
        if tx is not None:
            return self._run.post(tx, name, payload, id=id)
        return self._loop_thread.call(self._run.publish(name, payload, id=id))

    def cancel(self) -> None:
        """End the run as cancelled, after its present step if a worker holds it. An ended run stays as it is."""
        self._loop_thread.call(self._run.cancel())

    def redrive(self) -> None:
        """Let a failed run go on at the step that failed, or a blocked one be tried again at once."""
        self._loop_thread.call(self._run.redrive())
