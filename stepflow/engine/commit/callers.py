"""callers: refuses the writes that callers ask for inside of a transaction of the same store, of which they would be no part."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from typing import Any, TypeVar

from attrs import define

from stepflow.drivers.port.commit import CommitResult, Release
from stepflow.drivers.port.step import Member
from stepflow.engine.commit.committer import Committer
from stepflow.errors import StepflowError

T = TypeVar("T")


@define(eq=False)
class Inside:
    """One call of a function in a transaction of `store`, a URL; `posted` tells whether it made a call with `tx=`."""

    store: str
    posted: bool = False


_inside: ContextVar[Inside | None] = ContextVar("stepflow_inside_transaction", default=None)


class inside:  # noqa: N801 - used as a function
    """What is called in the block is inside of the transaction. No generator: contextlib sets an attribute of what is raised in one."""

    def __init__(self, call: Inside) -> None:
        self._call = call

    def __enter__(self) -> None:
        self._token = _inside.set(self._call)

    def __exit__(self, *_error: object) -> None:
        _inside.reset(self._token)


def note_post() -> None:
    """Something was posted through a connection, perhaps that of the transaction which the caller is inside of."""
    if (call := _inside.get()) is not None:
        call.posted = True


def is_inside_transaction() -> bool:
    """Whether the caller is a function in a transaction of a store."""
    return _inside.get() is not None


def check_outside_transaction(store: str) -> None:
    """Raise StepflowError if the caller is inside of a transaction of this store: a write would be no part of it, or wait for its end."""
    call = _inside.get()
    if call is not None and call.store == store:
        raise StepflowError(
            "an engine was called to write inside of a transaction of its own store, of which that would be no part: give the call"
            " the connection as tx=, or make it after the function has returned"
        )


class CallersCommitter(Committer):
    """Hands everything to `committer`; commits only if the caller is not a function in a transaction of `store`, a URL."""

    def __init__(self, committer: Committer, store: str) -> None:
        self._committer, self._store = committer, store

    def submit(self, commit: Member) -> Awaitable[Any]:
        check_outside_transaction(self._store)
        return self._committer.submit(commit)

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
