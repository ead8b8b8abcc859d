"""UserTransactions: calls functions in transactions of the store, each committed together with what the run records of the call.

`UserTransactions._effects` decides, for sync and async callers alike: it yields the work to be done, a Call of the function, or
a pause in seconds, and receives what came of it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from typing import Any

from attrs import define

from stepflow.drivers.port.step import Member
from stepflow.drivers.port.store import Driver, Store
from stepflow.drivers.port.user_transaction import UserTransaction
from stepflow.engine.checks import transaction_problem
from stepflow.engine.clock import Clock
from stepflow.engine.deferred_signals import user_code
from stepflow.engine.execution.attempt import SteppedAttempt, is_closed, keep_task
from stepflow.engine.execution.executor import AGAIN_S, Executor
from stepflow.engine.inside_transaction import Inside, inside
from stepflow.errors import Full, StepflowError, StoreError, Unavailable
from stepflow.model.flow import Call

MemberOf = Callable[[Any], tuple[Member, Any]]
"""From what a function returned: what is committed with its writes, and the value of the call."""
PAUSES_S = (
    0.002,
    0.005,
    0.01,
    0.02,
    0.05,
    0.1,
    0.2,
    0.2,
)  # between two calls whose transactions got into each other's way
Effects = Generator[Callable[[], Any] | Call | float, Any, tuple[Any, Any]]


class Refused(Exception):
    """The store opened no transaction, or did not take the commit: nothing was written, unless `error` is an OutcomeUnknown."""

    def __init__(self, error: StepflowError) -> None:
        super().__init__(error)
        self.error = error


@define(eq=False)
class UserTransactions:
    """The transactions of one engine; `on_commit(posted)` is called on the event loop after each of them."""

    driver: Driver
    store: Store
    clock: Clock
    executor: Executor
    on_commit: Callable[[bool], None]

    def problem(self, is_async: bool) -> str:
        """Why a function cannot have a transaction of this store; empty if it can."""
        return transaction_problem(self.driver, is_async)

    def call(self, attempt: SteppedAttempt, call: Call, member_of: MemberOf) -> tuple[Any, Any]:
        """The value of the call, and the answer to the member of `member_of`, which was committed with the function's writes; blocks.

        Raises what the function, or `member_of`, raised, after a rollback; Refused if the store is to blame.
        """
        made = Inside(self.driver.url)
        effects = self._effects(attempt, call, member_of)
        try:
            effect = next(effects)
            while True:
                try:
                    done = self._do(attempt, effect, made)
                except BaseException as error:  # noqa: BLE001 - raised again by the generator
                    effect = effects.throw(error)
                else:
                    effect = effects.send(done)
        except StopIteration as stop:
            self.executor.loop.call_soon_threadsafe(self.on_commit, made.posted)
            return stop.value  # type: ignore[no-any-return]
        except RuntimeError as error:
            raise _own(error) from None

    def _do(self, attempt: SteppedAttempt, effect: Callable[[], Any] | Call | float, made: Inside) -> Any:
        if isinstance(effect, float):
            threading.Event().wait(effect)
            return None
        if not isinstance(effect, Call):
            before = user_code.suspend()
            try:
                return effect()
            finally:
                user_code.resume(before)
        with inside(made):
            if effect.limit_s is None:
                return effect.fn(*effect.args)
            return self.executor.limits.call(attempt, effect, self.executor.call_step)

    async def acall(self, attempt: SteppedAttempt, call: Call, member_of: MemberOf) -> tuple[Any, Any]:
        """The same from the event loop.

        All of it is done in one thread if the function is sync: an open transaction may keep all writers out, and the loop, which may be
        one of them, does not block while a thread of steps is busy.
        """
        if not call.is_async:
            return await self.executor.call_to_its_end(attempt, self.call, attempt, call, member_of)
        made, task = Inside(self.driver.url), asyncio.current_task()  # of the attempt, or of a branch
        effects = self._effects(attempt, call, member_of)
        try:
            effect = next(effects)
            while True:
                try:
                    done = await self._ado(attempt, effect, made)
                except BaseException as error:
                    if is_closed(task):  # nothing can be awaited any more
                        effects.close()
                        raise
                    effect = effects.throw(error)
                else:
                    effect = effects.send(done)
        except StopIteration as stop:
            self.on_commit(made.posted)
            return stop.value  # type: ignore[no-any-return]
        except RuntimeError as error:
            raise _own(error) from None

    async def _ado(self, attempt: SteppedAttempt, effect: Callable[[], Any] | Call | float, made: Inside) -> Any:
        if isinstance(effect, float):
            return await asyncio.sleep(effect)
        if not isinstance(effect, Call):
            return await self._to_its_end(self.executor.block(effect))
        if attempt.interrupted:
            raise asyncio.CancelledError
        with inside(made):
            if effect.limit_s is not None:
                return await self.executor.limits.run(attempt, effect, self.executor.call_step)
            attempt.awaits, before = True, attempt.awaits  # beside other branches of a gather it stays true
            try:
                return await effect.fn(*effect.args)
            finally:
                attempt.awaits = before

    async def _to_its_end(self, work: Awaitable[Any]) -> Any:
        """The result of work of the store, which is not left alone: a transaction would stay open."""
        future, task = asyncio.ensure_future(work), asyncio.current_task()
        while True:
            try:
                return await asyncio.shield(future)
            except asyncio.CancelledError:
                if is_closed(task) or future.done():
                    raise
                keep_task(task)  # the worker that interrupts the attempt is heard before the next call

    def _effects(self, attempt: SteppedAttempt, call: Call, member_of: MemberOf) -> Effects:
        tries = iter(PAUSES_S)
        while True:
            pause = 0.0
            try:
                opened = yield partial(self.store.begin, awaited=call.is_async)
            except StepflowError as error:
                trouble = error
            else:
                found = yield from self._made(opened, attempt, call, member_of)
                if not isinstance(found, StepflowError):
                    return found
                trouble, pause = found, next(tries, 0.0)
            if not isinstance(trouble, (Unavailable, Full)):
                raise Refused(trouble) from None
            if not pause and not attempt.should_retry_commit(trouble):
                raise Refused(trouble) from None
            yield pause * (0.5 + self.clock.random_bytes(1)[0] / 256) if pause else AGAIN_S

    def _made(
        self, opened: UserTransaction, attempt: SteppedAttempt, call: Call, member_of: MemberOf
    ) -> Generator[Callable[[], Any] | Call, Any, tuple[Any, Any] | StepflowError]:
        """Call the function in this transaction, and commit; the value and the answer, or what the store refused."""
        limit_s = self.driver.transaction_limit_s if call.limit_s is None else call.limit_s
        try:
            value = yield Call(call.fn, (opened.connection, *call.args), call.is_async, limit_s)
            yield opened.finish
            member, value = member_of(value)
        except GeneratorExit:
            opened.roll_back()
            raise
        except BaseException as error:
            yield opened.abandon if attempt.lost else opened.roll_back
            trouble = error if isinstance(error, StoreError) else opened.trouble(error)
            if trouble is None:
                raise
            return trouble
        try:
            answer = yield partial(opened.commit, member, self.clock.now())
        except StepflowError as error:
            return error
        return answer if isinstance(answer, StepflowError) else (value, answer)


def _own(error: RuntimeError) -> BaseException:
    """What a function raised: Python replaces a StopIteration that leaves a generator by a RuntimeError."""
    return error.__cause__ if type(error.__cause__) is StopIteration else error
