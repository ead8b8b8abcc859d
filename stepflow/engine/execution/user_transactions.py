"""UserTransactions: calls functions in transactions of the store, each committed together with what the run records of the call.

`UserTransactions._effects` decides, for sync and async callers alike: it yields the work to be done, a Call of the function, or
a pause in seconds, and receives what came of it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator
from functools import partial
from typing import Any

from attrs import define, field

from stepflow.drivers.port.step import Member
from stepflow.drivers.port.store import Driver, Store
from stepflow.drivers.port.user_transaction import UserTransaction
from stepflow.engine.checks import transaction_problem
from stepflow.engine.clock import Clock
from stepflow.engine.commit.callers import Inside, inside
from stepflow.engine.execution.attempt import SteppedAttempt, is_closed
from stepflow.engine.execution.executor import AGAIN_S, Executor
from stepflow.engine.threads.deferred_signals import user_code
from stepflow.engine.threads.futures import keep_task
from stepflow.errors import Full, StepflowError, StoreError, Unavailable
from stepflow.model.error_text import cause_of, is_a
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
    _open: dict[SteppedAttempt, tuple[UserTransaction, bool]] = field(
        init=False, factory=dict
    )  # and whether the function is async

    def problem(self, is_async: bool) -> str:
        """Why a function cannot have a transaction of this store; empty if it can."""
        return transaction_problem(self.driver, is_async)

    def interrupted(self, attempt: SteppedAttempt) -> None:
        """The claim of the attempt ends: a sync function of it, which cannot be ended, keeps no locks any more."""
        opened, is_async = self._open.get(attempt, (None, True))
        if opened is not None and not is_async:
            self.executor.start(opened.abandon)

    def trouble(self, attempt: SteppedAttempt, error: BaseException) -> bool:
        """Whether the open transaction of the attempt came to its end by this exception of its function, and is to be made again."""
        opened, _is_async = self._open.get(attempt, (None, True))
        return opened is not None and opened.trouble(error) is not None

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
        effects, cancelled = self._effects(attempt, call, member_of), False
        try:
            effect = next(effects)
            while True:
                try:
                    if isinstance(effect, float | Call):
                        if cancelled or attempt.interrupted:
                            cancelled = False
                            raise asyncio.CancelledError
                        done = await self._ado(attempt, effect, made)
                    else:
                        future = asyncio.ensure_future(self.executor.block(effect))
                        cancelled = await end_of(future) or cancelled
                        done = future.result()
                except BaseException as error:
                    if is_closed(task):  # nothing can be awaited any more
                        effects.close()
                        raise
                    effect = effects.throw(error)
                else:
                    effect = effects.send(done)
        except StopIteration as stop:
            self.on_commit(made.posted)
            if cancelled and not (attempt.cancel or attempt.interrupted) and task is not None:
                task.cancel()  # by user code, or at the end of a gather: heard now
            return stop.value  # type: ignore[no-any-return]
        except RuntimeError as error:
            raise _own(error) from None

    async def _ado(self, attempt: SteppedAttempt, effect: Call | float, made: Inside) -> Any:
        if isinstance(effect, float):
            return await asyncio.sleep(effect)
        with inside(made):
            if effect.limit_s is not None:
                return await self.executor.limits.run(attempt, effect, self.executor.call_step)
            attempt.awaits, before = True, attempt.awaits  # beside other branches of a gather it stays true
            try:
                return await effect.fn(*effect.args)
            finally:
                attempt.awaits = before

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
            if attempt.interrupted or not isinstance(trouble, (Unavailable, Full)):
                raise Refused(trouble) from None
            if not pause and not attempt.should_retry_commit(trouble):
                raise Refused(trouble) from None
            yield pause * (0.5 + self.clock.random_bytes(1)[0] / 256) if pause else AGAIN_S

    def _made(
        self, opened: UserTransaction, attempt: SteppedAttempt, call: Call, member_of: MemberOf
    ) -> Generator[Callable[[], Any] | Call, Any, tuple[Any, Any] | StepflowError]:
        """Call the function in this transaction, and commit; the value and the answer, or what the store refused."""
        limit_s = self.driver.transaction_limit_s if call.limit_s is None else call.limit_s
        self._open[attempt], returned = (opened, call.is_async), False
        try:
            value = yield Call(call.fn, (opened.connection, *call.args), call.is_async, limit_s)
            returned = True
            yield opened.finish
            member, value = member_of(value)
        except GeneratorExit:
            opened.roll_back()
            raise
        except BaseException as error:
            yield opened.abandon if attempt.lost else opened.roll_back
            trouble = error if returned and is_a(error, StoreError) else _trouble(opened, error)
            if trouble is None or (attempt.interrupted and not returned):  # the function met the end of its transaction
                raise
            return trouble
        finally:
            self._open.pop(attempt, None)
        try:
            answer = yield partial(opened.commit, member, self.clock.now())
        except StepflowError as error:
            return error
        return answer if isinstance(answer, StepflowError) else (value, answer)


async def end_of(future: asyncio.Future[Any]) -> bool:
    """Wait for work of the store, which is not left alone: a transaction would stay open. Whether the task was cancelled meanwhile."""
    task, cancelled = asyncio.current_task(), False
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:
            if is_closed(task):
                raise
            cancelled = True
            keep_task(task)
    return cancelled


def _trouble(opened: UserTransaction, error: BaseException) -> StoreError | None:
    """The StoreError that an exception of the function amounts to, also by way of a call with `tx=`; one of another store is its own."""
    found, cause = opened.trouble(error), cause_of(error)
    return opened.trouble(cause) if found is None and cause is not None and is_a(error, StoreError) else found


def _own(error: RuntimeError) -> BaseException:
    """What a function raised: Python replaces a StopIteration that leaves a generator by a RuntimeError."""
    cause = cause_of(error)
    return cause if cause is not None and is_a(cause, StopIteration) else error
