"""Executor: carries out what an attempt yields, on the event loop or in the threads of a pool."""

from __future__ import annotations

import asyncio
from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from functools import partial
from types import CoroutineType, coroutine
from typing import Any, TypeVar

from stepflow.drivers.port.commit import Commit, Release
from stepflow.drivers.port.step import Member
from stepflow.engine.clock import Clock
from stepflow.engine.commit.committer import Committer
from stepflow.engine.commit.pending import PENDING, PendingCommit, PostedCommit
from stepflow.engine.execution import run_log
from stepflow.engine.execution.attempt import Attempt, GeneratorAttempt, is_closed
from stepflow.engine.execution.time_limit import TimeLimits
from stepflow.engine.lifetime import LINEAGE
from stepflow.engine.threads.deferred_signals import Interruption, user_code
from stepflow.engine.threads.futures import keep_task
from stepflow.engine.threads.hidden_loop import HiddenLoop
from stepflow.engine.threads.last_work import IN_OTHER_THREAD, MayBlock
from stepflow.engine.threads.loop_thread import in_sync_step
from stepflow.engine.threads.raised import for_generator, own_error
from stepflow.engine.threads.thread_pool import ThreadPool, end_if_forked
from stepflow.model.current import current_step, enter
from stepflow.model.flow import Call

T = TypeVar("T")
UNSET: Any = object()  # the value of a context variable that has none
AGAIN_S = 1.0  # after which a commit that the store refused for now is tried again


class Executor:
    """Where attempts and user functions run: inline under virtual time, else on the loop or in the threads of a pool."""

    def __init__(self, clock: Clock, committer: Committer) -> None:
        self._clock, self.committer, self.loop = clock, committer, asyncio.get_running_loop()
        self._pool = ThreadPool(self.loop, "stepflow-steps", steps=True, last=committer.last_work)
        self._in_threads = False
        self.limits = TimeLimits(clock)
        self.guard = self._pool.guard

    def run(self, attempt: GeneratorAttempt) -> Awaitable[Release | None]:
        """Run an attempt to its end."""
        if self._clock.virtual or not attempt.flow.inline:
            return run_on_loop(attempt, self)
        future: asyncio.Future[Release | None] = self.loop.create_future()
        limited = attempt.flow.options.hung_after_s is not None or attempt.run_end is not None
        push = self._pool.push_marked if self._in_threads or limited or not self._pool.has_caller else self._pool.push
        ThreadedAttempt(attempt, self.committer, self._pool, push, future)
        return future

    @contextmanager
    def in_threads(self) -> Iterator[None]:
        """No sync step is called in the thread of a blocking engine's caller, which could not leave a step that does not end."""
        self._in_threads = True
        try:
            yield
        finally:
            self._in_threads = False

    def call(self, fn: Callable[..., Any], *args: Any) -> Awaitable[Any]:
        """Call a sync user function where it may block."""
        if self._clock.virtual:
            return run_inline(fn, *args)
        return self._pool.submit_to_threads(copy_context().run, fn, *args)

    def call_step(self, context: Context, fn: Callable[..., Any], *args: Any) -> Awaitable[Any]:
        """The same in a context that the caller keeps."""
        if self._clock.virtual:
            return run_inline(fn, *args)
        return self._pool.submit_to_threads(context.run, in_thread, fn, *args)

    def block(self, fn: Callable[[], T]) -> Awaitable[T]:
        """Do work of the store that may block; in a thread, under virtual time here."""
        return _done(fn) if self._clock.virtual else self._pool.submit_to_threads(fn)

    def start(self, fn: Callable[..., Any], *args: Any) -> None:
        """Begin a call in another thread, under virtual time make it here; from the thread of a sync workflow."""
        if self._clock.virtual:
            fn(*args)
        else:
            self._pool.push_to_threads(partial(copy_context().run, fn, *args))

    async def call_to_its_end(self, attempt: Attempt, fn: Callable[..., T], *args: Any) -> T:
        """Call a sync step of a workflow where it may block; only the worker ends the wait for it."""
        task: asyncio.Task[Any] = asyncio.current_task()  # type: ignore[assignment]  # the worker made it
        context = copy_context()
        return await _of_thread(self.call_step(context, fn, *args), context, task, attempt)  # type: ignore[no-any-return]

    def close(self) -> None:
        """Let the threads end."""
        self._pool.close()


@coroutine
def run_on_loop(attempt: GeneratorAttempt, executor: Executor) -> Generator[Any, Any, Release | None]:
    """Run an attempt on the event loop; the executor calls sync user functions where they may block."""
    enter(attempt.current)
    effects, forks, committer = attempt.effects(), LINEAGE.forks, executor.committer
    task: asyncio.Task[Any] = asyncio.current_task()  # type: ignore[assignment]  # the worker makes one for each attempt
    try:
        effect = next(effects)
        while True:
            try:
                if type(effect) is not Call:
                    if LINEAGE.forks != forks:
                        end_if_forked(forks)
                    made: Any = committer.submit(effect)
                    if type(made) is PendingCommit:  # this is `await made`, without a generator for each of them
                        value = made.outcome
                        if value is PENDING:
                            yield made
                            while (value := made.outcome) is PENDING:  # the task was cancelled
                                _keep_unless_interrupted(task, attempt)
                                yield made
                        if type(value) is not tuple and isinstance(value, BaseException):
                            raise value
                    else:
                        value = yield from _awaited(made)
                else:
                    if effect.limit_s is not None:
                        value = yield from _awaited(executor.limits.run(attempt, effect, executor.call_step))
                        attempt.awaits = False
                    elif effect.is_async:
                        made, attempt.awaits = effect.fn(*effect.args), True
                        value = yield from (made if type(made) is CoroutineType else _awaited(made))
                        attempt.awaits = False
                    else:
                        context = copy_context()
                        made = executor.call_step(context, effect.fn, *effect.args)
                        value = yield from _awaited(_of_thread(made, context, task, attempt))
                    if task.cancelling():
                        yield from _awaited(_absorb(task, attempt))
            except BaseException as error:
                end_if_forked(forks)
                if is_closed(task) or (issubclass(type(error), CancelledError) and attempt.interrupted):
                    effects.close()
                    raise
                keep_task(task)
                attempt.awaits = False
                if type(effect) is not Call and attempt.should_retry_commit(error):
                    yield from _awaited(asyncio.sleep(AGAIN_S))
                    continue
                effect = effects.throw(for_generator(own_error(error)))
            else:
                effect = effects.send(value)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]


def _carry_over(context: Context) -> None:
    """Set the context variables that a step set in its thread: the next step sees them, as it sees those of an async step."""
    for variable, value in context.items():
        if variable.get(UNSET) is not value:
            variable.set(value)


async def _awaited(given: Awaitable[Any]) -> Any:
    return await given


def _keep_unless_interrupted(task: asyncio.Task[Any], attempt: Attempt) -> None:
    if attempt.interrupted:
        raise CancelledError
    keep_task(task)


async def _of_thread(made: Awaitable[Any], context: Context, task: asyncio.Task[Any], attempt: Attempt) -> Any:
    """The result of a call that runs in a thread, or of one that is made here."""
    if not isinstance(made, asyncio.Future):
        return await made
    try:
        return await _to_its_end(made, task, attempt)
    finally:
        _carry_over(context)


async def _to_its_end(future: asyncio.Future[T], task: asyncio.Task[Any], attempt: Attempt) -> T:
    """The result of a call in a thread, which cannot be cancelled: only the worker ends the wait for it."""
    while True:
        try:
            return await asyncio.shield(future)
        except CancelledError:
            if future.cancelled() or future.done():
                raise
            if attempt.interrupted:
                future.add_done_callback(partial(_given_up, attempt, current_step()))
                raise
            keep_task(task)


def _given_up(attempt: Attempt, step: str, future: asyncio.Future[Any]) -> None:
    """A call that the worker no longer waits for has ended: its result is refused, its error is logged."""
    if not future.cancelled() and (error := future.exception()) is not None:
        run_log.late(attempt, error, step)


async def _absorb(task: asyncio.Task[Any], attempt: GeneratorAttempt) -> None:
    """A step cancelled its own task and ended all the same: what comes after it is not cancelled."""
    try:
        await asyncio.sleep(0)  # a cancellation that was not delivered yet comes here
    except CancelledError:
        _keep_unless_interrupted(task, attempt)
    keep_task(task)


def in_thread(fn: Callable[..., T], *args: Any) -> T:
    """Call a step in a thread of the pool, which is that of user code until it returns."""
    user_code.begin()
    try:
        return fn(*args)
    finally:
        user_code.end()


async def _done(fn: Callable[[], T]) -> T:
    return fn()


async def run_inline(fn: Callable[..., Any], *args: Any) -> Any:
    """Call a sync user function on the loop itself, as virtual time does."""
    token, outer = in_sync_step.set(True), user_code.running
    try:
        user_code.begin()
        with HiddenLoop():
            return fn(*args)
    except BaseException as error:
        if error is user_code.interruption:
            raise Interruption from None
        raise
    finally:
        user_code.end()
        user_code.resume(outer)  # of a function that executes another one
        in_sync_step.reset(token)


class ThreadedAttempt(PostedCommit):
    """An attempt whose user functions are all sync: a thread runs it up to its next commit, then the thread is free for others.

    The caller of a blocking engine that has the loop for itself commits, too, and goes on at once. `future` receives the
    Release, or the error that ended the attempt.
    """

    def __init__(
        self,
        attempt: GeneratorAttempt,
        committer: Committer,
        pool: ThreadPool,
        push: Callable[[Callable[[], None]], None],
        future: asyncio.Future[Release | None],
    ) -> None:
        super().__init__(Commit())
        self._attempt, self._effects = attempt, attempt.effects()
        self._committer, self._pool, self._push, self._future = committer, pool, push, future
        self._forks = LINEAGE.forks
        self._context = (
            copy_context()
        )  # one for the attempt: context variables that a step sets are seen by the next step
        self._value: Any = None
        self._thread: MayBlock = pool
        self._context.run(enter, attempt.current)
        push(self._work)

    def on_done(self, result: Any) -> None:
        """The last commit was answered: a thread goes on."""
        if type(result) is tuple or not self._tries_again(result):
            self._value = result
            self._push(self._work)

    def _tries_again(self, result: Any) -> bool:
        """Whether a commit is made again later, as the store refused it for now."""
        if not self._attempt.should_retry_commit(result):
            return False
        self._pool.later(AGAIN_S, self._send)
        return True

    def _work(self) -> None:
        try:
            if self._pool.has_caller and not self._pool.is_own_thread:
                self._work_of_caller()
                return
            self._thread = self._pool
            self.renew(self._next_commit())
            self._committer.post(self)
        except StopIteration as stop:
            self._pool.answer(self._future, stop.value)
        except BaseException as error:  # noqa: BLE001 - handed to the waiter
            self._pool.fail(self._future, error)

    def _work_of_caller(self) -> None:
        """The caller of a blocking engine commits, too, and goes on while it has nothing else to do."""
        self._thread = IN_OTHER_THREAD
        while True:
            commit = self._next_commit()
            done = self._committer.commit_now(commit)
            if type(done) is not tuple:
                self.renew(commit)
                if done is PENDING:
                    self._send()
                    return
                if self._tries_again(done):
                    return
            self._value = done
            if not self._pool.caller_goes_on():
                self._push(self._work)
                return

    def _next_commit(self) -> Member:
        """Go on to the next commit. StopIteration: the attempt has ended."""
        commit = self._context.run(self._go, self._value)
        if LINEAGE.forks != self._forks:
            end_if_forked(self._forks)
        return commit

    def _send(self) -> None:
        self._committer.submit_threadsafe(self.write, self.on_done)

    def _go(self, value: Any) -> Member:
        """Resume the generator with the last commit's outcome and make the calls that follow; returns the next commit."""
        effects, thread = self._effects, self._thread
        effect = effects.throw(value) if isinstance(value, BaseException) else effects.send(value)
        while type(effect) is Call:
            thread.begin_blocking()
            try:
                user_code.begin()
                value = effect.fn(*effect.args)
                user_code.end()
            except BaseException as error:  # noqa: BLE001 - the attempt decides
                user_code.end()
                thread.end_blocking()
                effect = effects.throw(_throwable(error))
            else:
                thread.end_blocking()
                effect = effects.send(value)
        return effect


def _throwable(error: BaseException) -> BaseException:
    """What to throw into the attempt: what a signal handler raised in a step is no error of the step."""
    return Interruption() if error is user_code.interruption else for_generator(error)
