"""CallersCommitter: the Committer for writes that callers ask for, refused inside of a transaction of the same store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from stepflow.drivers.port.commit import CommitResult, Release
from stepflow.drivers.port.step import Member
from stepflow.engine.commit.committer import Committer
from stepflow.engine.commit.pending import PendingCommit
from stepflow.engine.inside_transaction import check_outside_transaction

T = TypeVar("T")


class CallersCommitter(Committer):
    """Hands everything to `committer`; commits only if the caller is not a function in a transaction of `store`, a URL."""

    def __init__(self, committer: Committer, store: str) -> None:
        self._committer, self._store = committer, store

    def submit(self, commit: Member, before: PendingCommit | None = None) -> Awaitable[Any]:
        check_outside_transaction(self._store)
        return self._committer.submit(commit, before)

    async def submit_all(self, commits: Sequence[Member]) -> list[CommitResult]:
        check_outside_transaction(self._store)
        return await self._committer.submit_all(commits)

    def submit_threadsafe(self, commit: Member, on_done: Callable[[Any], None]) -> None:
        check_outside_transaction(self._store)
        self._committer.submit_threadsafe(commit, on_done)

    def release(self, release: Release) -> Awaitable[bool]:
        return self._committer.release(release)

    async def call(self, fn: Callable[..., T], *args: Any) -> T:
        return await self._committer.call(fn, *args)

    async def run_inline_or_in_writer(self, free: Callable[[], T | None], fn: Callable[[], T]) -> T:
        return await self._committer.run_inline_or_in_writer(free, fn)

    def close(self) -> None:
        self._committer.close()
