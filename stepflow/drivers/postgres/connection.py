"""A connection whose waits for an answer have a limit: a proxy may lose the server and keep our side open for ever."""

from __future__ import annotations

from threading import Event
from typing import Any, TypeVar

import psycopg
from attrs import define, field
from psycopg.abc import PQGen

ANSWER_S = 60.0  # a statement of ours takes milliseconds; a commit with large data a few seconds
LONG_ANSWER_S = 3600.0  # migrations and checks of large stores
URGENT_ANSWER_S = 4.0  # beats and looks for changes; every wait once another connection broke or the session closes
SLICE_S = 0.1
T = TypeVar("T")


@define(eq=False)
class Network:
    """What the connections of one session know of each other: `closing` is set when the session closes."""

    closing: Event = field(factory=Event)
    breaks: int = 0  # how often a connection broke
    ending: bool = False  # the work that the session is for ends soon
    lost: bool = False  # no connection could be made in time since then

    def hurry(self, *, ending: bool) -> None:
        """Whether one silence of the network is enough to give it up."""
        self.ending, self.lost = ending, ending and self.lost


class Silent(psycopg.OperationalError):
    """The server did not answer in time; the connection is closed."""


class PostgresConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection of one session. `answer_s` limits the silence while an answer is awaited, in seconds.

    Once another connection broke, or the session closes, the limit is URGENT_ANSWER_S for a connection opened before: what
    lost one connection has probably lost the others.
    """

    answer_s = ANSWER_S
    network: Network | None = None
    breaks = 0  # of the network when this connection was opened

    def belongs_to(self, network: Network) -> None:
        """The connection is one of these from now on."""
        self.network, self.breaks = network, network.breaks

    def wait(self, gen: PQGen[T], interval: float = SLICE_S, timeout: float | None = None) -> T:
        """Run a generator of psycopg, which waits for the socket in slices; raises Silent, and closes, after too many.

        Old versions of psycopg know no `timeout`; it is passed on where it is given.
        """
        more = {} if timeout is None else {"timeout": timeout}
        return super().wait(self._answered(gen), interval, **more)

    def _answered(self, gen: PQGen[T]) -> PQGen[T]:
        silent_s = 0.0
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if ready:
                    silent_s = 0.0
                else:  # one slice passed; a process that was stopped meanwhile counts one, too
                    silent_s += SLICE_S
                    if silent_s >= self._limit():
                        self.close()
                        raise Silent(f"the server did not answer for {silent_s:.0f} s")
                wanted = gen.send(ready)
        except StopIteration as end:
            result: T = end.value
            return result

    def _limit(self) -> float:
        network = self.network
        if network is not None and (network.closing.is_set() or self.breaks < network.breaks):
            return min(self.answer_s, URGENT_ANSWER_S)
        return self.answer_s
