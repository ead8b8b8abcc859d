"""What any process does with runs by their id, with a span for each start and publish, whose context a new run carries."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from attrs import field, frozen

from stepflow.drivers.port.commit import Commit, Event, Fence, Record
from stepflow.engine.client.client import Client, Existing
from stepflow.engine.commit.canceller import Canceller
from stepflow.engine.execution.child_calls import ChildCalls
from stepflow.engine.instrument import metrics as m
from stepflow.engine.instrument.spans import OpenSpan
from stepflow.engine.instrument.telemetry import RUN, RUNS, Telemetry
from stepflow.errors import StepflowError
from stepflow.replay.child_effects import StartChildren


class TracedClient(Client):
    """A Client that begins the traces of runs."""

    def __init__(self, *parts: Any, telemetry: Telemetry) -> None:
        super().__init__(*parts)
        self._telemetry = telemetry

    async def create(self, commit: Commit) -> Existing | None:
        """Make a planned start in a span of its own."""
        opened, carried = self._telemetry.starting(commit)
        try:
            found = await super().create(carried)
        except BaseException as error:
            self._telemetry.end(opened, error)
            raise
        self._telemetry.end(opened)
        return found

    async def create_many(self, commits: Sequence[Commit]) -> list[Existing | None]:
        """Make planned starts in one span, to whose trace all of them belong."""
        opened, carried = self._starting(commits)
        try:
            found = await super().create_many(carried)
        except BaseException as error:
            self._telemetry.end(opened, error)
            raise
        self._telemetry.end(opened)
        return found

    def _starting(self, commits: Sequence[Commit]) -> tuple[OpenSpan | None, list[Commit]]:
        if len(commits) == 1:
            opened, carried = self._telemetry.starting(commits[0])
            return opened, [carried]
        made = [write.created for commit in commits for write in commit.writes]
        flow = next((created.flow for created in made if created is not None), "")
        opened = self._telemetry.begin(f"start {flow}", "producer", {m.FLOW: flow, RUNS: len(commits)})
        return opened, [self._telemetry.carrying(opened, commit) for commit in commits]

    async def post(self, tx: Any, *commits: Commit) -> list[Existing | None]:
        """The same through the caller's own transaction, in one span."""
        opened, carried = self._starting(commits)
        try:
            found = await super().post(tx, *carried)
        except BaseException as error:
            self._telemetry.end(opened, error)
            raise
        self._telemetry.end(opened)
        return found

    def planned_event(self, run_id: str, name: str, payload: Any, event_id: str) -> Event:
        """An event with the context of the caller's span, whichever way it is published."""
        return self._telemetry.published(super().planned_event(run_id, name, payload, event_id))

    async def publish(self, event: Event) -> None:
        """Publish in a span of the caller's trace."""
        attributes = {RUN: event.run_id, m.EVENT: event.name}
        opened = self._telemetry.begin(f"publish {event.name}", "producer", attributes)
        try:
            await super().publish(self._telemetry.published(event, opened))
        except BaseException as error:
            self._telemetry.end(opened, error)
            raise
        self._telemetry.end(opened)


class CountingCanceller(Canceller):
    """A Canceller that counts the runs that end by it."""

    def __init__(self, *parts: Any, telemetry: Telemetry) -> None:
        super().__init__(*parts)
        self._telemetry = telemetry

    def _ended(self, record: Record, status: str) -> None:
        super()._ended(record, status)
        if status:
            self._telemetry.ended(record.created.flow, status, record.created.created_at)


@frozen
class TracedChildCalls(ChildCalls):
    """Starts children in the trace of their parent."""

    telemetry: Telemetry = field(kw_only=True)

    async def start(
        self, effect: StartChildren, fence: Fence, commit: Callable[[Commit], Awaitable[list[str]]]
    ) -> StepflowError | None:
        """Start runs in a span of the attempt."""

        async def carried(planned: Commit) -> list[str]:
            opened, made = self.telemetry.starting(planned)
            try:
                answer = await commit(made)
            except BaseException as error:
                self.telemetry.end(opened, error)
                raise
            self.telemetry.end(opened)
            return answer

        return await super().start(effect, fence, carried)

    def start_sync(
        self, effect: StartChildren, fence: Fence, commit: Callable[[Commit], list[str]]
    ) -> StepflowError | None:
        """The same in the thread of a sync workflow."""

        def carried(planned: Commit) -> list[str]:
            opened, made = self.telemetry.starting(planned)
            try:
                answer = commit(made)
            except BaseException as error:
                self.telemetry.end(opened, error)
                raise
            self.telemetry.end(opened)
            return answer

        return super().start_sync(effect, fence, carried)
