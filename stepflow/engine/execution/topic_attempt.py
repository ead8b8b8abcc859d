"""TopicAttempt: advances a message of a topic: it wakes the runs that wait for the topic, and ends when it is kept no longer."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field

from stepflow.drivers.port.commit import Dequeue, Event, Release
from stepflow.drivers.port.step import Step
from stepflow.engine.commit.broadcast import Broadcast
from stepflow.engine.commit.committer import Committer
from stepflow.engine.execution.attempt import Attempt
from stepflow.engine.store_reader import StoreReader
from stepflow.errors import CancelRequested
from stepflow.model import outcome as outcomes
from stepflow.model.topic import TOPIC, UNTIL, WAITS, message_event, message_id, waiting_label


@define(eq=False)
class TopicAttempt(Attempt):
    """A claim on a message. It may give its event again after a crash: the event has the id of the message, and is stored once."""

    committer: Committer = field(kw_only=True)
    reader: StoreReader = field(kw_only=True)
    wake: Callable[[], None] = field(kw_only=True)  # tells the worker that something is due

    async def run(self) -> Release | None:
        """Give the event to each run that waits for the topic, and sleep until the message is over; then end."""
        state = self.state
        until, topic = int(state.transition.annotations[UNTIL]), state.labels[TOPIC]
        if self.cancel:
            return await self._end("cancelled")
        if until <= self.clock.now():
            return await self._end("completed")
        event = Event("*", message_event(topic), state.id[len(message_id(topic, "")) :], "null", self.clock.now())
        await Broadcast(self.committer, self.reader, self.clock, {waiting_label(topic): WAITS}).publish(event)
        self.wake()
        return Release(self.fence, until, crashes=0, unfinished=0)

    async def _end(self, status: str) -> Release | None:
        self.ended, state = status, self.state
        final = outcomes.final(state.transition, status, "")
        step = Step(
            state.id, self.fence.epoch, state.rev, final, state.labels, state.annotations, None, Dequeue(state.id)
        )
        try:
            await self.committer.submit(step)
        except CancelRequested:
            return await self._end("cancelled")
        return None
