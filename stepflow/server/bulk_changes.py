"""BulkChanges: changes of many runs that go on in the server after the request that began them, and how far each is."""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Literal, Protocol

from attrs import define, field

from stepflow.engine.clock import Clock, moment
from stepflow.server.errors import Refusal, refusal_of

MOST_KEPT = 50  # that can still be looked at, the last ones
MOST_AT_ONCE = 4  # of all namespaces: each makes commits for which workers wait
QUICK_S = 0.25  # for which the request waits that begins one
Phase = Literal["counting", "changing", "done", "refused", "stopped"]


class Perform(Protocol):
    """Makes the change, or with `dry_run` only finds out how many runs are meant; `report` is told how many so far. Raises Refusal."""

    def __call__(self, *, dry_run: bool, report: Callable[[int], object]) -> Awaitable[Any]: ...


@define(eq=False)
class BulkChange:
    """One change: what is done (`verb`) to which runs (`conditions`), by whom, and how far it is.

    `expected` is the number of runs that a dry run found, None while that is not known. `count` runs were changed, or in the phase
    `counting` found. `answer` is that of the operation once it is done, `message` says why it was refused, or who stopped it. Times that passed are in seconds.
    """

    verb: str
    conditions: Sequence[tuple[str, str]]
    namespace: str
    who: str
    begun: datetime
    expected: int | None
    id: str = field(init=False, factory=lambda: secrets.token_hex(8))
    phase: Phase = field(init=False, default="counting")
    count: int = field(init=False, default=0)
    answer: Any = field(init=False, default=None)
    message: str = field(init=False, default="")
    task: asyncio.Task[None] | None = field(init=False, default=None)
    _monotonic: Callable[[], float] = field(kw_only=True)
    _since: float = field(init=False, default=0.0)
    _took_s: float | None = field(init=False, default=None)

    @property
    def goes_on(self) -> bool:
        """Whether it has not ended yet."""
        return self.phase in ("counting", "changing")

    @property
    def took_s(self) -> float:
        """The time since it began, or that it took."""
        return self._monotonic() - self._since if self._took_s is None else self._took_s

    @property
    def left(self) -> int:
        """How many runs that the dry run found were not changed yet; some of them may be left alone."""
        return max(0, (self.expected or 0) - self.count)

    @property
    def left_s(self) -> float | None:
        """The time that the rest takes if it goes on as before; None if that cannot be told."""
        return self.left * self.took_s / self.count if self.phase == "changing" and self.count else None

    async def carry_out(self, perform: Perform, ended: Callable[[], object]) -> None:
        """Count the runs if that was not done, and change them. `ended` is called at the end."""
        try:
            if self.expected is None:
                self.expected = (await perform(dry_run=True, report=self._report)).count
            self.phase, self.count, self._since = "changing", 0, self._monotonic()
            self.answer = await perform(dry_run=False, report=self._report)
            self.phase, self.count = "done", self.answer.count
        except asyncio.CancelledError:
            self.phase = "stopped"
        except Exception as error:  # noqa: BLE001 - shown on the page of the change
            self.phase, self.message = "refused", refusal_of(error).message
        finally:
            self._took_s = self._monotonic() - self._since
            ended()

    def begin(self, perform: Perform, ended: Callable[[], object]) -> asyncio.Task[None]:
        """Carry it out in a task."""
        self._since = self._monotonic()
        self.task = asyncio.create_task(self.carry_out(perform, ended))
        return self.task

    def _report(self, count: int) -> None:
        self.count = count


class BulkChanges:
    """The last changes of one server process; they end with it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: OrderedDict[str, BulkChange] = OrderedDict()

    async def begin(
        self,
        verb: str,
        namespace: str,
        who: str,
        conditions: Sequence[tuple[str, str]],
        expected: int | None,
        perform: Perform,
        ended: Callable[[], object],
    ) -> BulkChange:
        """Begin a change, and wait for QUICK_S seconds whether it ends. Refusal 429 if MOST_AT_ONCE go on."""
        if sum(one.goes_on for one in self._kept.values()) >= MOST_AT_ONCE:
            raise Refusal(429, "resource_exhausted", f"{MOST_AT_ONCE} changes of many runs go on: wait for one of them")
        begun, monotonic = moment(self._clock.now()), self._clock.monotonic
        one = BulkChange(verb, conditions, namespace, who, begun, expected, monotonic=monotonic)
        self._kept[one.id] = one
        while len(self._kept) > MOST_KEPT:
            oldest = next(known for known, other in self._kept.items() if not other.goes_on)
            del self._kept[oldest]
        await asyncio.wait([one.begin(perform, ended)], timeout=QUICK_S)
        return one

    def find(self, change_id: str, namespace: str) -> BulkChange:
        """One of them. Refusal 404 if it is not known any more."""
        one = self._kept.get(change_id)
        if one is None or one.namespace != namespace:
            why = "the server was started again since, or had many others; the audit has what was done"
            raise Refusal(404, "not_found", f"there is no change {change_id!r:.40} of many runs here: {why}")
        return one

    def of(self, namespace: str) -> list[BulkChange]:
        """Those of a namespace, the newest first."""
        return [one for one in reversed(self._kept.values()) if one.namespace == namespace]

    async def stop(self, change_id: str, namespace: str, who: str) -> None:
        """End one between two of its commits; runs that were changed stay so."""
        one = self.find(change_id, namespace)
        if one.goes_on and one.task is not None:
            one.message = f"by {who}"
            one.task.cancel()
            await asyncio.wait([one.task])

    async def close(self) -> None:
        """End all of them: the server stops."""
        for one in self._kept.values():
            if one.task is not None and one.goes_on:
                one.message = "because the server was stopped"
                one.task.cancel()
                with suppress(asyncio.CancelledError):
                    await one.task
