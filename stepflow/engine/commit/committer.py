"""Committer: all writes of an engine flow through it, so that what is ready together can commit together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, overload

from stepflow.drivers.port.background import Guard
from stepflow.drivers.port.commit import Commit, CommitResult, Committed, Fence, Release, StepCommitted
from stepflow.drivers.port.step import Member
from stepflow.drivers.port.store import Store
from stepflow.engine.clock import Clock
from stepflow.engine.commit.pausing import stopped
from stepflow.engine.commit.pending import PENDING, PostedCommit
from stepflow.engine.membership.notifier import Notifier
from stepflow.engine.threads.last_work import LastWork

T = TypeVar("T")


class Committer(ABC):
    """How writes reach the store; each tells its Notifier, on the event loop, of every batch of commits."""

    guards: Sequence[Guard] = ()  # of its threads
    _beside: dict[Fence, int]  # the claims under which calls go on side by side; how often that is said

    @property
    def last_work(self) -> LastWork | None:
        """What the threads that `post` write behind their other work; None if each commit is made at once."""
        return None

    @overload
    def submit(self, commit: Commit) -> Awaitable[Committed]: ...
    @overload
    def submit(self, commit: Member) -> Awaitable[Committed | StepCommitted]: ...
    @abstractmethod
    def submit(self, commit: Member) -> Awaitable[Any]:
        """Commit from the event loop; what the store answers, an error is raised."""

    @abstractmethod
    async def submit_all(self, commits: Sequence[Member]) -> list[CommitResult]:
        """Commit all of them from the event loop, together as far as they fit into a batch; the answer to each."""

    @abstractmethod
    def release(self, release: Release) -> Awaitable[bool]:
        """Release a claim; False if it had been lost already."""

    def commit_now(self, commit: Member) -> Any:  # noqa: ARG002
        """The answer to a commit that the calling thread makes itself, or the error; PENDING if it must not, and nothing was done."""
        return PENDING

    def post(self, posted: PostedCommit) -> None:
        """Commit from a thread of the pool whose `LastWork` this is; it writes itself if nothing else is ready there."""
        self.submit_threadsafe(posted.write, posted.on_done)

    @abstractmethod
    def submit_threadsafe(self, commit: Member, on_done: Callable[[Any], None]) -> None:
        """Commit from any thread; `on_done` is called in some thread with the answer or the error."""

    @contextmanager
    def side_by_side(self, fence: Fence) -> Iterator[None]:
        """Calls go on side by side under this claim: a commit that meets a pause keeps it, and is answered with WhilePaused.

        PauseRequested is raised in place of a commit that begins a call which is made at most once. From any thread.
        """
        self._beside[fence] = self._beside.get(fence, 0) + 1  # of one fence in one thread
        try:
            yield
        finally:
            self._beside[fence] -= 1
            if not self._beside[fence]:
                del self._beside[fence]

    @abstractmethod
    async def call(self, fn: Callable[..., T], *args: Any) -> T:
        """Do another kind of write, between two batches."""

    async def run_inline_or_in_writer(self, free: Callable[[], T | None], fn: Callable[[], T]) -> T:  # noqa: ARG002
        """The result of `free`, which does not wait, if the loop may commit itself, else that of `fn`, done by `call`."""
        return await self.call(fn)

    @abstractmethod
    def close(self) -> None:
        """Finish what was submitted, then stop."""


class InlineCommitter(Committer):
    """Every write at once, in the caller's thread: deterministic, for virtual time."""

    def __init__(self, store: Store, clock: Clock, notifier: Notifier) -> None:
        self._store, self._clock, self._notifier, self._beside = store, clock, notifier, {}

    async def submit(self, commit: Member) -> Any:
        (result,) = self._commit([commit])
        if isinstance(result, Exception):
            raise result
        self._notifier.committed()
        return result

    async def submit_all(self, commits: Sequence[Member]) -> list[CommitResult]:
        answers = [self._commit([commit])[0] for commit in commits]
        self._notifier.committed()
        return answers

    async def release(self, release: Release) -> bool:
        return self._store.release([release], self._clock.now())[0]

    def submit_threadsafe(self, commit: Member, on_done: Callable[[Any], None]) -> None:
        on_done(self._commit([commit])[0])

    def _commit(self, members: Sequence[Member]) -> Sequence[Any]:
        now = self._clock.now()
        return stopped(self._store, members, self._store.commit(members, now), now, self._beside)

    async def call(self, fn: Callable[..., T], *args: Any) -> T:
        return fn(*args)

    def close(self) -> None:
        """Nothing is ever pending."""
