"""OnceCalls: the calls that steps make by `current().once` and `aonce`: made once, whatever happens to the step after that."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from attrs import define

from stepflow.drivers.port.journal import INTENT, ONCE, JournalRow
from stepflow.engine import step_failure
from stepflow.engine.commit.callers import is_inside_transaction
from stepflow.engine.commit.pausing import WhilePaused
from stepflow.engine.commit.pending import to_its_end
from stepflow.engine.execution.at_most_once import lost_value
from stepflow.engine.execution.executor import AGAIN_S
from stepflow.engine.execution.once_rows import OnceRows
from stepflow.engine.intents import UNKNOWN, is_told
from stepflow.engine.threads.deferred_signals import user_code
from stepflow.engine.threads.futures import running_loop
from stepflow.errors import CodecError, DefinitionError, LostClaim, PauseRequested, StepflowError
from stepflow.model import outcome as outcomes
from stepflow.model.codec import Unopened
from stepflow.model.error_text import kind_of, message_of
from stepflow.model.scalars import short_repr
from stepflow.replay.journal import LARGEST_KEY, is_key
from stepflow.replay.results import UnknownOutcome
from stepflow.replay.step import StepFunction, round_trip, step_function


@define(eq=False)
class OnceCalls(OnceRows):
    """The calls of one claim."""

    def call(self, key: str, fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """The value of the call, which is made if the journal does not have it; blocks until it is durable."""
        self._check_place("once", key)
        function, found = self._begin("once", key, fn)
        if function.is_async:
            raise DefinitionError(f"once({key!r}): {function.name} is async: await current().aonce() in an async step")
        if found is not None:
            return self._found(key, found, function)
        try:
            value = fn(*args)
        except BaseException:
            self.used.discard(key)
            raise
        row, value = self._row(key, function, value)
        self._write(row)
        return value

    def call_at_most_once(self, key: str, fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """The same; the intent is durable before the call. In a step that is itself called at most once it is one of its calls."""
        if self.attempt.at_most_once:
            return self.call(key, fn, args)
        self._check_place("once", key)
        function, found = self._begin("once", key, fn)
        if function.is_async:
            raise DefinitionError(f"once({key!r}): {function.name} is async: await current().aonce() in an async step")
        if found is not None:
            return self._found(key, found, function)
        intent = self._intent(key, function)
        self.attempt.hold_cancels(1)
        try:
            self._write_intent(intent)
            try:
                value = fn(*args)
            except BaseException as error:
                self.used.discard(key)
                if _has_ended(error):
                    self._write(_raised(intent, error))
                else:
                    self.why[intent.key] = f"it was interrupted ({kind_of(error)})"
                raise
            row, value = self._row(key, function, value)
            self._write(row)
        finally:
            self.attempt.hold_cancels(-1)
        return value

    async def acall(self, key: str, fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """The same in an async step, for an async function or a sync one that does not block."""
        self._check_place("aonce", key)
        function, found = self._begin("aonce", key, fn)
        if found is not None:
            return await self._afound(key, found, function)
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

    async def acall_at_most_once(self, key: str, fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """The same in an async step. A cancel of the run does not interrupt the call, but one of its task does: its outcome is unknown then."""
        if self.attempt.at_most_once:
            return await self.acall(key, fn, args)
        self._check_place("aonce", key)
        function, found = self._begin("aonce", key, fn)
        if found is not None:
            return await self._afound(key, found, function)
        intent = self._intent(key, function)
        while not await self._begins(intent):
            pass
        self.attempt.hold_cancels(1)
        try:
            try:
                value = fn(*args)
                if function.is_async or asyncio.iscoroutine(value):
                    value = await value
            except BaseException as error:
                self.used.discard(key)
                if _has_ended(error):
                    await self._awrite(_raised(intent, error))
                else:
                    self.why[intent.key] = f"it was interrupted ({kind_of(error)})"
                raise
            row, value = self._row(key, function, value)
            done = await self._awrite(row)
        finally:
            self._call_ended()
            self.attempt.hold_cancels(-1)
        if type(done) is WhilePaused:
            self._paused = True
            await self._stop()
        return value

    async def _begins(self, intent: JournalRow) -> bool:
        """Record the intent of a call, which then goes on. False if that was not written: the run was paused, or the store did not take it now."""
        if isinstance(self.refusal, LostClaim):
            raise self.refusal
        if self._paused:
            await self._stop()
        last, self.rows[intent.key], begins = self.rows.get(intent.key), intent, False
        self._going += 1
        try:
            try:
                with self._keeps_claim(self._going > 1):
                    _done, cancelled = await to_its_end(self.committer.submit(self._append(intent)))
            except StepflowError as error:
                self._put_back(intent.key, last)
                self._paused = self._paused or type(error) is PauseRequested
                if not self._paused and not self.attempt.should_retry_commit(error):
                    self._refuse(error)
                await asyncio.sleep(0 if self._paused else AGAIN_S)
                return False
            self._written(intent)
            if cancelled:  # the call has not begun
                await self._awrite(_raised(intent, None))
                raise asyncio.CancelledError
            begins = True
            return begins
        finally:
            if not begins:
                self._call_ended()

    def _check_place(self, verb: str, key: str) -> None:
        """Refuse a call that no step makes, or that another thread makes than that of its step."""
        current = self.attempt.current
        if is_inside_transaction():
            raise StepflowError(
                f"{verb}({short_repr(key)}): what it records would be no part of the step's transaction, which may be rolled back: make the"
                " call in a step before"
            )
        if not current.running:
            raise StepflowError(f"{verb}({short_repr(key)}): the step has ended: make the call while it runs")
        if verb == "aonce":
            if running_loop() is not self.loop or user_code.running:
                raise StepflowError(f"aonce({short_repr(key)}): await it in an async step, on the engine's event loop")
        elif self.attempt.awaits and running_loop() is self.loop and not user_code.running:
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
        if row is not None:
            if row.failed:  # the call raised: it may be made again
                row = None
            elif row.name and function.name and row.name != function.name:
                self._refuse(
                    DefinitionError(
                        f"{step}: {verb}({key!r}): the journal has the value of {row.name!r} under this key, this code calls"
                        f" {function.name!r}: give the new call a key of its own, or deploy the code that made the first"
                        " one, then redrive the run"
                    )
                )
        self.used.add(key)
        return function, row

    def _found(self, key: str, row: JournalRow, function: StepFunction) -> Any:
        """The value of a call that the journal has."""
        if row.kind != INTENT:
            return self._restored(key, row, function)
        row, value, error = self._told(key, row, function)
        self._write(row)
        if error is not None:
            raise error
        return value

    async def _afound(self, key: str, row: JournalRow, function: StepFunction) -> Any:
        if row.kind != INTENT:
            return self._restored(key, row, function)
        row, value, error = self._told(key, row, function)
        await self._awrite(row)
        if error is not None:
            raise error
        return value

    def _told(self, key: str, row: JournalRow, function: StepFunction) -> tuple[JournalRow, Any, Exception | None]:
        """What a caller found out of a call of unknown outcome: the row to be recorded, and the value or the error."""
        if not is_told(row):
            raise UnknownOutcome(key)
        told = json.loads(row.text)
        if (failure := told["error"]) is not None:
            self.used.discard(key)
            return row._replace(kind=ONCE, text=failure, failed=True), None, step_failure.restored(key, failure)
        try:
            text, value = round_trip(function, function.codec.decode(told["value"] or "null"))
        except CodecError as error:
            self.why[row.key] = why = f"it was resolved, but by a value that does not fit: {message_of(error)}; so"
            self.rows[row.key] = row._replace(text=UNKNOWN)
            raise UnknownOutcome(key, why) from error
        return row._replace(kind=ONCE, text=text), value, None

    def _intent(self, key: str, function: StepFunction) -> JournalRow:
        return JournalRow(f"{self.attempt.place}:{key}", INTENT, function.name, UNKNOWN)

    def _restored(self, key: str, row: JournalRow, function: StepFunction) -> Any:
        try:
            return function.codec.decode(row.text)
        except Unopened as error:
            self._refuse(error)
        except CodecError as error:
            self._refuse(CodecError(f"{self.attempt.current.step}: the recorded value of {key!r}: {error}"), error)

    def _row(self, key: str, function: StepFunction, value: Any) -> tuple[JournalRow, Any]:
        """The row of a value, and the value as the next attempt restores it."""
        name = f"{self.attempt.place}:{key}"
        try:
            text, value = round_trip(function, value)
        except BaseException as refusal:
            self.why[name] = lost_value(refusal)
            raise
        return JournalRow(name, ONCE, function.name, text), value


def ends_claim(calls: OnceCalls | None, failure: BaseException) -> bool:
    """Whether a step failed with what ends its claim."""
    return calls is not None and calls.refusal is failure


def why_unknown(calls: OnceCalls | None, row: JournalRow) -> str:
    """Why the outcome of the call with this row is unknown, if one of these calls found that out."""
    return "" if calls is None else calls.why.get(row.key, "")


def _has_ended(error: BaseException) -> bool:
    """Whether a call that raised this came to its end: what interrupted it is no outcome."""
    interrupts = asyncio.CancelledError, KeyboardInterrupt, GeneratorExit
    return not issubclass(type(error), interrupts) and error is not user_code.interruption


def _raised(intent: JournalRow, error: BaseException | None) -> JournalRow:
    """In place of an intent: the call raised this, or has not begun, so it may be made again."""
    text = UNKNOWN if error is None else outcomes.describe(error)
    return intent._replace(kind=ONCE, text=text, failed=True)
