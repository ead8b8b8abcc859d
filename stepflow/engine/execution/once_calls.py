"""OnceCalls: the calls that steps make by `current().once` and `aonce`: made once, whatever happens to the step after that."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NoReturn, Protocol

from attrs import define, field

from stepflow.drivers.port.commit import Commit, Fence
from stepflow.drivers.port.journal import ONCE, JournalRow
from stepflow.drivers.port.step import Append, Member
from stepflow.engine.commit.callers import is_inside_transaction
from stepflow.engine.commit.committer import Committer
from stepflow.engine.commit.pausing import WhilePaused
from stepflow.engine.execution.executor import AGAIN_S
from stepflow.engine.threads.deferred_signals import user_code
from stepflow.engine.threads.futures import LOOK_UP_S, running_loop
from stepflow.errors import CodecError, DefinitionError, LostClaim, StepflowError
from stepflow.model.codec import Unopened
from stepflow.model.current import Current
from stepflow.model.scalars import short_repr
from stepflow.replay.journal import LARGEST_KEY, is_key
from stepflow.replay.step import StepFunction, round_trip, step_function


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


@define(eq=False)
class OnceCalls:
    """Those of one claim. `rows` are the journal rows of the run by key; a row of this kind has the key `place:key`.

    `used` are the keys that the present attempt of the step has used, `wrote` tells whether the claim has written a row,
    `refusal` is the error that ends the claim: the step has raised it, and cannot handle it.
    """

    attempt: CallsOnce
    committer: Committer
    rows: dict[str, JournalRow]
    loop: asyncio.AbstractEventLoop
    used: set[str] = field(factory=set)
    wrote: bool = False
    refusal: BaseException | None = None
    _going: int = 0  # async calls that are made or recorded now
    _none_goes: asyncio.Event = field(factory=asyncio.Event)
    _paused: bool = False  # the run was paused while several of them went on

    def call(self, key: str, fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """The value of the call, which is made if the journal does not have it; blocks until it is durable."""
        self._check_place("once", key)
        function, found = self._begin("once", key, fn)
        if function.is_async:
            raise DefinitionError(f"once({key!r}): {function.name} is async: await current().aonce() in an async step")
        if found is not None:
            return self._restored(key, found, function)
        try:
            value = fn(*args)
        except BaseException:
            self.used.discard(key)
            raise
        row, value = self._row(key, function, value)
        self._write(row)
        return value

    async def acall(self, key: str, fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """The same in an async step, for an async function or a sync one that does not block."""
        self._check_place("aonce", key)
        function, found = self._begin("aonce", key, fn)
        if found is not None:
            return self._restored(key, found, function)
        if isinstance(self.refusal, LostClaim):  # a call beside found out: what this one did could not be recorded
            raise self.refusal
        if self._paused:
            await self._stop()
        self._going += 1
        try:
            try:
                value = fn(*args)
                if function.is_async or asyncio.iscoroutine(value):
                    value = await value
            except BaseException:
                self.used.discard(key)
                raise
            row, value = self._row(key, function, value)
            done = await self._awrite(row)
        finally:
            self._going -= 1
            if not self._going:
                self._none_goes.set()
        if type(done) is WhilePaused and not self.attempt.at_most_once:
            self._paused = True
            await self._stop()
        return value

    async def _stop(self) -> None:
        """Let the calls beside end, and give up the claim, unless the run was resumed meanwhile."""
        while self._going:
            self._none_goes.clear()
            await self._none_goes.wait()
        await self._commit(Commit(self.attempt.fence))
        self._paused = False

    def _check_place(self, verb: str, key: str) -> None:
        """Refuse a call that no step makes, or that another thread makes than that of its step."""
        current, on_loop = self.attempt.current, running_loop() is self.loop
        if is_inside_transaction():
            raise StepflowError(
                f"{verb}({short_repr(key)}): what it records would be no part of the step's transaction, which may be rolled back: make the"
                " call in a step before"
            )
        if not current.running:
            raise StepflowError(f"{verb}({short_repr(key)}): the step has ended: make the call while it runs")
        if verb == "aonce":
            if not on_loop or user_code.running:
                raise StepflowError(f"aonce({short_repr(key)}): await it in an async step, on the engine's event loop")
        elif self.attempt.awaits and on_loop and not user_code.running:
            raise StepflowError(
                f"once({short_repr(key)}) would block the event loop: await current().aonce(...) instead"
            )
        elif not user_code.running:
            raise StepflowError(f"once({short_repr(key)}) was called in another thread than that of its step")

    def _begin(self, verb: str, key: str, fn: Any) -> tuple[StepFunction, JournalRow | None]:
        """What there is to know of the function, and the row of this key; the key counts as used."""
        step = self.attempt.current.step
        if not is_key(key):
            text = f"{step}: {verb}({short_repr(key)}): give a key, a non-empty text of at most {LARGEST_KEY} bytes"
            raise DefinitionError(f"{text} without NUL and halves of surrogate pairs")
        if key in self.used:
            raise DefinitionError(
                f"{step}: {verb}({key!r}): this attempt of the step has used the key already: give each call a key of its own"
            )
        function = step_function(fn)
        row = self.rows.get(f"{self.attempt.place}:{key}")
        if row is not None and row.name and function.name and row.name != function.name:
            self._refuse(
                DefinitionError(
                    f"{step}: {verb}({key!r}): the journal has the value of {row.name!r} under this key, this code calls"
                    f" {function.name!r}: give the new call a key of its own, or deploy the code that made the first"
                    " one, then redrive the run"
                )
            )
        self.used.add(key)
        return function, row

    def _restored(self, key: str, row: JournalRow, function: StepFunction) -> Any:
        try:
            return function.codec.decode(row.text)
        except Unopened as error:
            self._refuse(error)
        except CodecError as error:
            self._refuse(CodecError(f"{self.attempt.current.step}: the recorded value of {key!r}: {error}"), error)

    def _row(self, key: str, function: StepFunction, value: Any) -> tuple[JournalRow, Any]:
        """The row of a value, and the value as the next attempt restores it."""
        text, value = round_trip(function, value)
        return JournalRow(f"{self.attempt.place}:{key}", ONCE, function.name, text), value

    def _append(self, row: JournalRow) -> Append:
        fence = self.attempt.fence
        return Append(fence.id, fence.epoch, (row,))

    def _write(self, row: JournalRow) -> None:
        """Write the row, and wait for that; signal handlers are called after it."""
        before = user_code.suspend()
        try:
            while self.attempt.should_retry_commit(answer := self._answer(row)):
                threading.Event().wait(AGAIN_S)
        finally:
            user_code.resume(before)
        if isinstance(answer, BaseException):
            self._refuse(answer)
        self._written(row)
        user_code.begin()

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
            self.rows.pop(row.key) if last is None else self.rows.update({row.key: last})
            raise
        self._written(row)
        return done

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
        return self.committer.side_by_side(self.attempt.fence) if kept else nullcontext()

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


def ends_claim(calls: OnceCalls | None, failure: BaseException) -> bool:
    """Whether a step failed with what ends its claim."""
    return calls is not None and calls.refusal is failure
