"""OnceRows: writes the journal rows of the calls that steps make by `current().once` and `aonce`."""

from __future__ import annotations

import asyncio
import threading
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NoReturn, Protocol

from attrs import define, field

from stepflow.drivers.port.commit import Commit, Fence
from stepflow.drivers.port.journal import INTENT, JournalRow
from stepflow.drivers.port.step import Append, Member
from stepflow.engine.commit.committer import Committer
from stepflow.engine.execution.executor import AGAIN_S
from stepflow.engine.threads.deferred_signals import user_code
from stepflow.engine.threads.futures import LOOK_UP_S
from stepflow.errors import LostClaim, StepflowError
from stepflow.model.current import Current

_NOTHING = nullcontext()  # one for all: it has no state


class CallsOnce(Protocol):
    """Calls the step. `place` is the beginning of the keys of its rows, `awaits` tells whether async user code runs."""

    @property
    def current(self) -> Current:
        """The step."""

    @property
    def awaits(self) -> bool:
        """Whether it is async."""

    @property
    def fence(self) -> Fence:
        """The claim on the run."""

    @property
    def place(self) -> str:
        """Where the run is."""

    @property
    def at_most_once(self) -> bool:
        """Whether the step must not be called again: it comes to its end although the run is paused."""

    def should_retry_commit(self, refusal: object) -> bool:
        """Whether to write a row again that the store refused."""

    def note_progress(self) -> None:
        """A row was written."""

    def hold_cancels(self, change: int) -> None:
        """A call that no cancel of the run interrupts begins (1), or has ended (-1)."""


@define(eq=False)
class OnceRows:
    """Those of one claim. `rows` are the journal rows of the run by key; a row of this kind has the key `place:key`.

    `used` are the keys that the present attempt of the step has used, `wrote` tells whether the claim has written a row,
    `refusal` is the error that ends the claim: the step has raised it, and cannot handle it. `why` tells of calls that are made at most
    once why their outcome is unknown, by the keys of their rows.
    """

    attempt: CallsOnce
    committer: Committer
    rows: dict[str, JournalRow]
    loop: asyncio.AbstractEventLoop
    used: set[str] = field(factory=set)
    wrote: bool = False
    refusal: BaseException | None = None
    why: dict[str, str] = field(factory=dict)
    _going: int = 0  # async calls that are made or recorded now
    _none_goes: asyncio.Event = field(factory=asyncio.Event)
    _paused: bool = False  # the run was paused while several of them went on

    async def _stop(self) -> None:
        """Let the calls beside end, and give up the claim, unless the run was resumed meanwhile."""
        while self._going:
            self._none_goes.clear()
            await self._none_goes.wait()
        await self._commit(Commit(self.attempt.fence))
        self._paused = False

    def _call_ended(self) -> None:
        """A call beside the others has ended."""
        self._going -= 1
        if not self._going:
            self._none_goes.set()

    def _append(self, row: JournalRow) -> Append:
        fence = self.attempt.fence
        return Append(fence.id, fence.epoch, (row,))

    def _write(self, row: JournalRow) -> None:
        """Write the row, and wait for that; signal handlers are called after it, but behind an intent after the call, which has not begun yet."""
        before = user_code.suspend()
        try:
            while self.attempt.should_retry_commit(answer := self._answer(row)):
                threading.Event().wait(AGAIN_S)
        finally:
            user_code.resume(before)
        if isinstance(answer, BaseException):
            self._refuse(answer)
        self._written(row)
        if row.kind != INTENT:
            user_code.begin()

    def _write_intent(self, intent: JournalRow) -> None:
        """Write an intent. It counts from now on: the time limit of the step may pass before its thread hears that it is written."""
        last = self.rows.get(intent.key)
        self.rows[intent.key] = intent
        try:
            self._write(intent)
        except BaseException:
            self._put_back(intent.key, last)
            raise

    def _answer(self, row: JournalRow) -> Any:
        answers: list[Any] = []
        done = threading.Event()

        def on_done(answer: Any) -> None:
            answers.append(answer)
            done.set()

        with self._keeps_claim(beside=False):
            self.committer.submit_threadsafe(self._append(row), on_done)
            while not done.wait(LOOK_UP_S):  # a signal does not end a wait without a limit everywhere
                pass
        return answers[0]

    async def _awrite(self, row: JournalRow) -> Any:
        last = self.rows.get(row.key)
        self.rows[row.key] = row  # a write whose waiter is cancelled is done all the same
        try:
            with self._keeps_claim(self._going > 1):
                done = await self._commit(self._append(row))
        except StepflowError:
            self._put_back(row.key, last)
            raise
        self._written(row)
        return done

    def _put_back(self, key: str, last: JournalRow | None) -> None:
        """A row was not written: the last one of its key is there."""
        if last is None:
            self.rows.pop(key, None)
        else:
            self.rows[key] = last

    async def _commit(self, member: Member) -> Any:
        while True:
            try:
                return await self.committer.submit(member)
            except StepflowError as error:
                if not self.attempt.should_retry_commit(error):
                    self._refuse(error)
            await asyncio.sleep(AGAIN_S)

    def _keeps_claim(self, beside: bool) -> AbstractContextManager[None]:
        """A pause does not end the claim while the step must come to its end, or calls go on `beside`."""
        kept = beside or self.attempt.at_most_once
        return self.committer.side_by_side(self.attempt.fence) if kept else _NOTHING

    def _written(self, row: JournalRow) -> None:
        self.rows[row.key] = row
        self.wrote = True
        self.attempt.note_progress()

    def _refuse(self, error: BaseException, cause: BaseException | None = None) -> NoReturn:
        """Raise an error that ends the claim: the store refused the row, or the code is not the one that wrote it."""
        if isinstance(self.refusal, LostClaim):  # calls beside raise what the first of them met
            raise self.refusal
        self.refusal = error
        raise error from cause
